package kmsmock

// A Mixer of Kurento 7.3.0 cannot connect its ports: it is not connected
// itself to the elements that would, and the process dies of it.

func mixerConnect(c *call) (value, error) {
	if c.str("media") == "DATA" {
		return nil, errMediaType("Invalid media type")
	}
	return crash(c)
}

func mixerDisconnect(c *call) (value, error) {
	switch c.str("media") {
	case "DATA":
		return nil, errMediaType("Invalid media type")
	case "VIDEO":
		return nil, errMediaType("Video disconnection is not implemented yet")
	}
	return crash(c)
}

func errMediaType(text string) error { return failf(40005, "UNSUPPORTED_MEDIA_TYPE", "%s", text) }

// crash is a call that Kurento does not survive.
func crash(c *call) (value, error) {
	c.srv.crash(c.obj.class.name)
	return nil, nil
}
