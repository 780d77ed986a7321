package kmsmock

import "slices"

// The classes of Kurento's core and elements modules, after their .kmd.json
// files of version 7.3.0.
var (
	classMediaObject = &class{
		name: "MediaObject", abstract: true, events: []string{"Error"},
		props: []property{
			{name: "mediaPipeline", typ: typePipelineRef, readOnly: true, get: func(o *mediaObject) (value, error) { return idOf(o.pipeline()), nil }},
			{name: "parent", typ: typePipelineRef, readOnly: true, get: func(o *mediaObject) (value, error) { return idOf(o.parent), nil }},
			{name: "id", typ: typeString, readOnly: true, get: func(o *mediaObject) (value, error) { return o.id, nil }},
			{name: "children", typ: typeString, readOnly: true, get: func(o *mediaObject) (value, error) { return o.childIDs(), nil }},
			{name: "name", typ: typeString, get: func(o *mediaObject) (value, error) { return o.displayName(), nil },
				set: func(o *mediaObject, v value) error { o.name = v.(string); return nil }},
			{name: "sendTagsInEvents", typ: typeBool, def: false},
			{name: "creationTime", typ: typeInt, readOnly: true, get: func(o *mediaObject) (value, error) { return o.created.Unix(), nil }},
		},
		ops: []operation{
			{name: "addTag", params: []param{{name: "key", typ: typeString}, {name: "value", typ: typeString}}, run: addTag},
			{name: "removeTag", params: []param{{name: "key", typ: typeString}}, run: removeTag},
			{name: "getTag", params: []param{{name: "key", typ: typeString}}, run: getTag},
			{name: "getTags", run: func(c *call) (value, error) { return c.obj.tagList(), nil }},
		},
	}
	classPipeline = &class{
		name: "MediaPipeline", module: "core", parent: classMediaObject,
		props: []property{{name: "latencyStats", typ: typeBool, def: false}},
		ops:   dotOperations,
	}
	classElement = &class{
		name: "MediaElement", abstract: true, parent: classMediaObject,
		props: []property{
			{name: "encoderBitrate", typ: typeInt, def: int64(300000)},
			{name: "minEncoderBitrate", typ: typeInt, def: int64(0)},
			{name: "maxEncoderBitrate", typ: typeInt, def: int64(2147483647)},
		},
		ops: append([]operation{
			{name: "getSourceConnections", params: connectionFilter, run: getSourceConnections},
			{name: "getSinkConnections", params: connectionFilter, run: getSinkConnections},
			{name: "connect", params: connectParams, run: connectElements},
			{name: "disconnect", params: connectParams, run: disconnectElements},
			{name: "setAudioFormat", params: []param{{name: "caps", typ: typeAudioCaps}}, run: doNothing},
			{name: "setVideoFormat", params: []param{{name: "caps", typ: typeVideoCaps}}, run: doNothing},
			{name: "getStats", params: []param{{name: "mediaType", typ: typeMediaType, optional: true}}, run: getStats},
			{name: "isMediaFlowingIn", params: flowParams("sinkMediaDescription"), run: isFlowingIn},
			{name: "isMediaFlowingOut", params: flowParams("sourceMediaDescription"), run: isFlowingOut},
			{name: "isMediaTranscoding", params: flowParams("binName"), run: isTranscoding},
		}, dotOperations...),
		events: []string{"ElementConnected", "ElementDisconnected", "MediaFlowOutStateChanged", "MediaFlowInStateChanged",
			"MediaTranscodingStateChanged"},
	}
	classPassThrough = &class{
		name: "PassThrough", module: "core", parent: classElement, ctor: pipelineCtor,
		build: func(o *mediaObject, _ object) error { o.impl = newElement(o, "kmspassthrough"); return nil },
	}
	classEndpoint        = &class{name: "Endpoint", abstract: true, parent: classElement}
	classSessionEndpoint = &class{
		name: "SessionEndpoint", abstract: true, parent: classEndpoint,
		events: []string{"MediaSessionTerminated", "MediaSessionStarted"},
	}
	classSdpEndpoint = &class{
		name: "SdpEndpoint", abstract: true, parent: classSessionEndpoint,
		props: []property{
			{name: "maxAudioRecvBandwidth", typ: typeInt, def: int64(0)},
			{name: "maxVideoRecvBandwidth", typ: typeInt, def: int64(0)},
		},
		ops: []operation{
			{name: "generateOffer", params: []param{{name: "options", typ: typeOfferOptions, optional: true}}, run: generateOffer},
			{name: "processOffer", params: []param{{name: "offer", typ: typeString}}, run: processOffer},
			{name: "processAnswer", params: []param{{name: "answer", typ: typeString}}, run: processAnswer},
			{name: "getLocalSessionDescriptor", run: getLocalDescription},
			{name: "getRemoteSessionDescriptor", run: getRemoteDescription},
		},
	}
	classBaseRtpEndpoint = &class{
		name: "BaseRtpEndpoint", abstract: true, parent: classSdpEndpoint,
		props: []property{
			{name: "minVideoRecvBandwidth", typ: typeInt, def: int64(100)},
			{name: "minVideoSendBandwidth", typ: typeInt, def: int64(100)},
			{name: "maxVideoSendBandwidth", typ: typeInt, def: int64(500)},
			{name: "mediaState", typ: typeString, readOnly: true, get: getMediaState},
			{name: "connectionState", typ: typeString, readOnly: true, get: getConnectionState},
			{name: "mtu", typ: typeInt, def: int64(1200)},
			{name: "rembParams", typ: typeRembParams, get: getRembParams, set: setRembParams},
		},
		ops:    []operation{{name: "requestKeyframe", run: requestKeyframe}},
		events: []string{"MediaStateChanged", "ConnectionStateChanged"},
	}
	classWebRtcEndpoint = &class{
		name: "WebRtcEndpoint", module: "elements", parent: classBaseRtpEndpoint,
		ctor: []param{
			{name: "mediaPipeline", typ: typePipelineRef},
			{name: "recvonly", typ: typeBool, optional: true, def: false},
			{name: "sendonly", typ: typeBool, optional: true, def: false},
			{name: "useDataChannels", typ: typeBool, optional: true, def: false},
			{name: "certificateKeyType", typ: typeKeyType, optional: true, def: "RSA"},
			{name: "qosDscp", typ: typeDSCP, optional: true, def: "NO_VALUE"},
		},
		props: []property{
			{name: "networkInterfaces", typ: typeString, get: getNetworkInterfaces},
			{name: "iceTcp", typ: typeBool, get: crashOnGetIceTCP},
			{name: "stunServerAddress", typ: typeString, def: ""},
			{name: "stunServerPort", typ: typeInt, def: int64(3478)},
			{name: "turnUrl", typ: typeString, def: "", set: setTurnURL},
			{name: "externalIPv4", typ: typeString, def: ""},
			{name: "externalIPv6", typ: typeString, def: ""},
			{name: "ICECandidatePairs", typ: typeString, readOnly: true, get: getCandidatePairs},
			{name: "IceConnectionState", typ: typeString, readOnly: true, get: getIceConnectionState},
			{name: "DtlsConnectionState", typ: typeString, readOnly: true, get: getDtlsConnectionState},
		},
		ops: []operation{
			{name: "gatherCandidates", run: gatherCandidates},
			{name: "addIceCandidate", params: []param{{name: "candidate", typ: typeIceCandidate}}, run: addIceCandidate},
			{name: "createDataChannel", params: dataChannelParams, run: noDataChannels},
			{name: "closeDataChannel", params: []param{{name: "channelId", typ: typeInt}}, run: noDataChannels},
		},
		events: []string{"IceCandidateFound", "IceGatheringDone", "IceComponentStateChanged", "DtlsConnectionStateChange",
			"DataChannelOpened", "DataChannelClosed", "NewCandidatePairSelected"},
		build: buildWebRtcEndpoint,
	}
	classServerManager = &class{
		name: "ServerManager", abstract: true, parent: classMediaObject,
		props: []property{
			{name: "info", typ: typeString, readOnly: true, get: serverInfo},
			{name: "pipelines", typ: typeString, readOnly: true, get: serverPipelines},
			{name: "sessions", typ: typeString, readOnly: true, get: serverSessions},
			{name: "metadata", typ: typeString, readOnly: true, def: ""},
		},
		ops: []operation{
			{name: "getKmd", params: []param{{name: "moduleName", typ: typeString}}, run: getKmd},
			{name: "getCpuCount", run: getCPUCount},
			{name: "getUsedCpu", params: []param{{name: "interval", typ: typeInt}}, run: getUsedCPU},
			{name: "getUsedMemory", run: getUsedMemory},
		},
		events: []string{"ObjectCreated", "ObjectDestroyed"},
	}
)

var (
	pipelineCtor     = []param{{name: "mediaPipeline", typ: typePipelineRef}}
	dotDetails       = []param{{name: "details", typ: typeDot, optional: true}}
	dotOperations    = []operation{{name: "getGstreamerDot", params: dotDetails, run: gstreamerDot}, {name: "dumpGstreamerDot", params: dotDetails, run: doNothing}}
	connectionFilter = []param{{name: "mediaType", typ: typeMediaType, optional: true}, {name: "description", typ: typeString, optional: true}}
	connectParams    = []param{
		{name: "sink", typ: typeElementRef},
		{name: "mediaType", typ: typeMediaType, optional: true},
		{name: "sourceMediaDescription", typ: typeString, optional: true},
		{name: "sinkMediaDescription", typ: typeString, optional: true},
	}
	dataChannelParams = []param{
		{name: "label", typ: typeString, optional: true},
		{name: "ordered", typ: typeBool, optional: true},
		{name: "maxPacketLifeTime", typ: typeInt, optional: true},
		{name: "maxRetransmits", typ: typeInt, optional: true},
		{name: "protocol", typ: typeString, optional: true},
	}
	creatable = []*class{classPipeline, classPassThrough, classWebRtcEndpoint}
)

func flowParams(second string) []param {
	return []param{{name: "mediaType", typ: typeMediaType}, {name: second, typ: typeString, optional: true}}
}

// factory finds the class of that name, with or without Kurento's prefix,
// nil for one that cannot be created.
func factory(name string) *class {
	i := slices.IndexFunc(creatable, func(c *class) bool { return c.name == name || c.qualified() == name })
	if i < 0 {
		return nil
	}
	return creatable[i]
}
