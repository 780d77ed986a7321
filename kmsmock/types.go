package kmsmock

// The data types of Kurento's core and elements modules, as far as the
// supported classes use them.
var (
	typeString  = &dataType{name: "String", form: formString}
	typeInt     = &dataType{name: "int", form: formInt}
	typeBool    = &dataType{name: "boolean", form: formBool}
	typeFloat32 = &dataType{name: "float", form: formFloat}

	typeMediaType = enum("MediaType", "AUDIO", "DATA", "VIDEO")
	typeDot       = enum("GstreamerDotDetails", "SHOW_MEDIA_TYPE", "SHOW_CAPS_DETAILS", "SHOW_NON_DEFAULT_PARAMS",
		"SHOW_STATES", "SHOW_FULL_PARAMS", "SHOW_ALL", "SHOW_VERBOSE")
	typeKeyType = enum("CertificateKeyType", "RSA", "ECDSA")
	typeDSCP    = enum("DSCPValue", "NO_DSCP", "NO_VALUE", "AUDIO_VERYLOW", "AUDIO_LOW", "AUDIO_MEDIUM", "AUDIO_HIGH",
		"VIDEO_VERYLOW", "VIDEO_LOW", "VIDEO_MEDIUM", "VIDEO_MEDIUM_THROUGHPUT", "VIDEO_HIGH", "VIDEO_HIGH_THROUGHPUT",
		"DATA_VERYLOW", "DATA_LOW", "DATA_MEDIUM", "DATA_HIGH")

	typePipelineRef = &dataType{name: "MediaPipeline", form: formRef, class: "MediaPipeline"}
	typeElementRef  = &dataType{name: "MediaElement", form: formRef, class: "MediaElement"}

	typeFraction  = structure("Fraction", param{name: "numerator", typ: typeInt}, param{name: "denominator", typ: typeInt})
	typeAudioCaps = structure("AudioCaps",
		param{name: "codec", typ: enum("AudioCodec", "OPUS", "PCMU", "PCMA", "RAW")}, param{name: "bitrate", typ: typeInt})
	typeVideoCaps = structure("VideoCaps",
		param{name: "codec", typ: enum("VideoCodec", "H265", "AV1", "VP9", "VP8", "H264", "RAW")},
		param{name: "framerate", typ: typeFraction})
	typeRembParams = structure("RembParams",
		param{name: "packetsRecvIntervalTop", typ: typeInt, optional: true},
		param{name: "exponentialFactor", typ: typeFloat32, optional: true},
		param{name: "linealFactorMin", typ: typeInt, optional: true},
		param{name: "linealFactorGrade", typ: typeFloat32, optional: true},
		param{name: "decrementFactor", typ: typeFloat32, optional: true},
		param{name: "thresholdFactor", typ: typeFloat32, optional: true},
		param{name: "upLosses", typ: typeInt, optional: true},
		param{name: "rembOnConnect", typ: typeInt, optional: true})
	typeOfferOptions = structure("OfferOptions",
		param{name: "offerToReceiveAudio", typ: typeBool, optional: true},
		param{name: "offerToReceiveVideo", typ: typeBool, optional: true})
	typeIceCandidate = structure("IceCandidate",
		param{name: "candidate", typ: typeString}, param{name: "sdpMid", typ: typeString}, param{name: "sdpMLineIndex", typ: typeInt})
)

func enum(name string, values ...string) *dataType {
	return &dataType{name: name, form: formEnum, values: values}
}

func structure(name string, fields ...param) *dataType {
	return &dataType{name: name, form: formStruct, fields: fields}
}
