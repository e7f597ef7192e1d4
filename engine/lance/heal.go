package lance

// Heal makes the newest sound version of the table in dir its head. Manifests of
// newer versions, which a crash left torn or without their data, and older ones
// that are torn, are renamed to *.manifest.corrupt; it returns their new names,
// relative to dir. When no version is sound all are set aside, and Open will
// find no table. A directory that does not exist, or needs nothing, gives nil.
//
// Call it before Open; it must not run on a table that is open.
func Heal(dir string) ([]string, error) { return heal(dir, 0) }

// HealTo does what Heal does and sets aside all versions above newest as well:
// those that were not synced yet when the power went, and whose files may be
// damaged in ways that their sizes and footers do not show.
func HealTo(dir string, newest uint64) ([]string, error) {
	if newest == 0 {
		return nil, ErrInvalid
	}
	return heal(dir, newest)
}

func heal(dir string, newest uint64) ([]string, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	renamed, err := nativeHeal(dir, newest)
	if err != nil {
		return nil, in(dir, err)
	}
	if len(renamed) == 0 {
		return nil, nil
	}
	return renamed, nil
}
