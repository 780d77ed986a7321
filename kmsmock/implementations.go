package kmsmock

// An implementation is what a class does beyond what its description says. A
// method without one answers null; a property without get and set lives in
// the object and starts as fresh.
type implementation struct {
	// build gives a new object its behaviour; args are checked and complete.
	build func(o *mediaObject, args object) error
	ops   map[string]func(c *call) (value, error)
	get   map[string]func(o *mediaObject) (value, error)
	set   map[string]func(o *mediaObject, v value) error
	fresh map[string]value
}

// Short names for the two kinds of functions.
type (
	methodOf   = map[string]func(c *call) (value, error)
	getterOf   = map[string]func(o *mediaObject) (value, error)
	setterOf   = map[string]func(o *mediaObject, v value) error
	freshValue = map[string]value
)

// implementations are by class name.
var implementations = map[string]implementation{
	"MediaObject": {
		get: getterOf{
			"mediaPipeline": func(o *mediaObject) (value, error) { return idOf(o.pipeline()), nil },
			"parent":        func(o *mediaObject) (value, error) { return idOf(o.parent), nil },
			"id":            func(o *mediaObject) (value, error) { return o.id, nil },
			"children":      func(o *mediaObject) (value, error) { return o.childIDs(), nil },
			"name":          func(o *mediaObject) (value, error) { return o.displayName(), nil },
			"creationTime":  func(o *mediaObject) (value, error) { return o.created.Unix(), nil },
		},
		set:   setterOf{"name": func(o *mediaObject, v value) error { o.name = v.(string); return nil }},
		fresh: freshValue{"sendTagsInEvents": false},
		ops: methodOf{
			"addTag": addTag, "removeTag": removeTag, "getTag": getTag,
			"getTags": func(c *call) (value, error) { return c.obj.tagList(), nil },
		},
	},
	"ServerManager": {
		get:   getterOf{"info": serverInfo, "pipelines": serverPipelines, "sessions": serverSessions},
		fresh: freshValue{"metadata": ""},
		ops: methodOf{"getKmd": getKmd, "getCpuCount": getCPUCount, "getUsedCpu": getUsedCPU,
			"getUsedMemory": getUsedMemory},
	},
	"MediaPipeline": {fresh: freshValue{"latencyStats": false}, ops: methodOf{"getGstreamerDot": gstreamerDot}},
	"MediaElement": {
		fresh: freshValue{"encoderBitrate": int64(300000), "minEncoderBitrate": int64(0), "maxEncoderBitrate": int64(2147483647)},
		ops: methodOf{
			"getSourceConnections": getSourceConnections, "getSinkConnections": getSinkConnections,
			"connect": connectElements, "disconnect": disconnectElements, "getStats": getStats,
			"isMediaFlowingIn": isFlowingIn, "isMediaFlowingOut": isFlowingOut, "isMediaTranscoding": isTranscoding,
			"getGstreamerDot": gstreamerDot,
		},
	},
	"Hub":                 {ops: methodOf{"getGstreamerDot": gstreamerDot}},
	"HubPort":             {build: buildHubPort},
	"Composite":           {build: buildHub(newFloor, both, both)},
	"AlphaBlending":       {build: buildHub(newFloor, both, audioOnly)},
	"Mixer":               {build: buildHub(newMatrix, audioOnly, neither), ops: methodOf{"connect": connectMixer, "disconnect": disconnectMixer}},
	"Dispatcher":          {build: buildHub(newMatrix, neither, neither), ops: methodOf{"connect": connectPorts}},
	"DispatcherOneToMany": {build: buildHub(newStage, neither, neither), ops: methodOf{"setSource": setSource, "removeSource": removeSource}},
	"SdpEndpoint": {
		fresh: freshValue{"maxAudioRecvBandwidth": int64(0), "maxVideoRecvBandwidth": int64(0)},
		ops: methodOf{
			"generateOffer": generateOffer, "processOffer": processOffer, "processAnswer": processAnswer,
			"getLocalSessionDescriptor": getLocalDescription, "getRemoteSessionDescriptor": getRemoteDescription,
		},
	},
	"BaseRtpEndpoint": {
		fresh: freshValue{"minVideoRecvBandwidth": int64(0), "minVideoSendBandwidth": int64(100),
			"maxVideoSendBandwidth": int64(500), "mtu": int64(1200)},
		get: getterOf{"mediaState": getMediaState, "connectionState": getConnectionState, "rembParams": getRembParams,
			"minVideoRecvBandwidth": getMinVideoRecv},
		set: setterOf{"rembParams": setRembParams, "minVideoRecvBandwidth": setMinVideoRecv,
			"minVideoSendBandwidth": setMinVideoSend, "maxVideoSendBandwidth": setMaxVideoSend},
		ops: methodOf{"requestKeyframe": requestKeyframe},
	},
	"RtpEndpoint": {build: buildRtpEndpoint},
	"WebRtcEndpoint": {
		build: buildWebRtcEndpoint,
		fresh: freshValue{"stunServerAddress": "", "stunServerPort": int64(3478), "turnUrl": "", "externalIPv4": "", "externalIPv6": ""},
		get: getterOf{
			"networkInterfaces": getNetworkInterfaces, "iceTcp": crashOnGetIceTCP, "ICECandidatePairs": getCandidatePairs,
			"IceConnectionState": getIceConnectionState, "DtlsConnectionState": getDtlsConnectionState,
		},
		set: setterOf{"turnUrl": setTurnURL},
		ops: methodOf{
			"gatherCandidates": gatherCandidates, "addIceCandidate": addIceCandidate,
			"createDataChannel": createDataChannel, "closeDataChannel": closeDataChannel,
		},
	},
}
