package lance

// Heal makes the newest sound version of the table in dir its head: manifests
// newer than that, which a crash left torn or without their data, are renamed
// to *.manifest.corrupt and their new names, relative to dir, returned. When no
// version is sound all are set aside, and Open will find no table. A directory
// that does not exist, or needs nothing, gives nil. Call it before Open; it must
// not run on a table that is open for writing.
func Heal(dir string) ([]string, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	renamed, err := nativeHeal(dir)
	if err != nil {
		return nil, in(dir, err)
	}
	if len(renamed) == 0 {
		return nil, nil
	}
	return renamed, nil
}
