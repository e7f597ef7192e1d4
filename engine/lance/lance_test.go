package lance

import "testing"

func TestSmoke(t *testing.T) {
	t.Log(live())
}
