package remote

import (
	"fmt"
	"os"

	"github.com/persisting/persisting/engine/wire"
)

// makeSheet makes the sheet of the connection. Its content is given as well, for a client that cannot reach the file.
func makeSheet(c *visitor, a *asked, out *answer) error {
	if c.sheet != nil {
		return fmt.Errorf("%w: a second sheet", wire.ErrProtocol)
	}
	schema, err := columns(a.bytes)
	if err != nil {
		return err
	}
	made, path, err := c.store.Sheet(schema, a.Rows, a.Heap)
	if err != nil {
		return err
	}
	c.sheet = made
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := out.value(map[string]string{"path": path}); err != nil {
		return err
	}
	_, err = out.Write(content)
	return err
}

// askSheet has the steps that the sheet of the connection has by now stored beside it.
func askSheet(c *visitor, _ *asked, out *answer) error {
	if c.sheet == nil {
		return fmt.Errorf("%w: there is no sheet", wire.ErrProtocol)
	}
	return done(out, c.sheet.Ask())
}

// send stores the steps of the sheet of the connection, or of one that the call brings.
func send(c *visitor, a *asked, out *answer) error {
	switch {
	case len(a.bytes) > 0:
		return done(out, c.store.TakeSheet(a.bytes))
	case c.sheet == nil:
		return fmt.Errorf("%w: there is no sheet", wire.ErrProtocol)
	}
	return done(out, c.sheet.Send())
}

// end ends the sheet of the connection.
func end(c *visitor, _ *asked, out *answer) error {
	if c.sheet == nil {
		return fmt.Errorf("%w: there is no sheet", wire.ErrProtocol)
	}
	err := c.sheet.Close()
	c.sheet = nil
	return done(out, err)
}
