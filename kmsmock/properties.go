package kmsmock

// within is the setter of a number that keeps what it has when it is given
// one out of range, as a property of a GStreamer element does.
func within(name string, low, high int64) func(*mediaObject, value) error {
	return func(o *mediaObject, v value) error {
		if n := v.(int64); n >= low && n <= high {
			o.props[name] = n
		}
		return nil
	}
}

// The bitrates of an element's encoders keep each other in order: the target
// lies between the least and the greatest. Negative ones are ignored.

func bitrates(o *mediaObject) (low, target, high int64) {
	return o.props["minEncoderBitrate"].(int64), o.props["encoderBitrate"].(int64), o.props["maxEncoderBitrate"].(int64)
}

func setEncoderBitrate(o *mediaObject, v value) error {
	low, _, high := bitrates(o)
	if n := v.(int64); n >= 0 {
		o.props["encoderBitrate"] = min(max(n, low), high)
	}
	return nil
}

func setMinEncoderBitrate(o *mediaObject, v value) error {
	_, target, high := bitrates(o)
	if n := v.(int64); n >= 0 {
		low := min(n, high)
		o.props["minEncoderBitrate"], o.props["encoderBitrate"] = low, max(target, low)
	}
	return nil
}

func setMaxEncoderBitrate(o *mediaObject, v value) error {
	low, target, _ := bitrates(o)
	if n := v.(int64); n >= 0 {
		high := max(n, low)
		o.props["maxEncoderBitrate"], o.props["encoderBitrate"] = high, min(target, high)
	}
	return nil
}
