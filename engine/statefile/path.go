package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is the number of links on the way of a path, as Linux has it.
const maxLinks = 40

// RealPath returns the absolute path without links and dots of what the system finds under path now. What is not there
// yet is taken to be no link. [filepath.Abs] takes ".." for the directory before it in the text, which is another one
// behind a link.
func RealPath(path string) (string, error) {
	done := "/"
	if !filepath.IsAbs(path) {
		here, err := os.Getwd()
		if err != nil {
			return "", err
		}
		if done, err = filepath.EvalSymlinks(here); err != nil {
			return "", err
		}
	}
	rest := strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = filepath.Dir(done)
			continue
		}
		next := filepath.Join(done, part)
		// Link by link, as ".." after one leads to where its target is, and not to where the link
		// is.
		target, err := os.Readlink(next)
		if err != nil { // it is no link, or not there, or whoever opens it is told what is wrong
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: path, Err: errors.New("too many links")}
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}
