package wire

import (
	"fmt"
	"io"
)

// HelloBytes is the size of a greeting: magic 8, version 4, zero 4.
const HelloBytes = 16

// Greet reads the greeting of a client, and answers with that of the server, which more may follow. The client learns from it what it
// has come to, also where that is nothing it speaks to.
func Greet(client io.ReadWriter, magic string, version uint32, more ...byte) error {
	var hello [HelloBytes]byte
	if _, err := io.ReadFull(client, hello[:]); err != nil {
		return err
	}
	welcome := le.AppendUint32(le.AppendUint32([]byte(magic), version), 0)
	if _, err := client.Write(append(welcome, more...)); err != nil {
		return err
	}
	if string(hello[:8]) != magic || le.Uint32(hello[8:]) != version {
		return fmt.Errorf("%w: a client greets with % x", ErrProtocol, hello)
	}
	return nil
}
