package kmsmock

// An implementation is what a class does beyond what its description says. A
// method without one answers null; a property without get and set lives in
// the object and starts as fresh.
type implementation struct {
	// build gives a new object its behaviour; args are checked and complete.
	build func(o *mediaObject, args object) error
	ops   map[string]func(c *call) (value, error)
	// strangers are what methods do with objects of classes that they do not
	// expect; others answer that a pointer is bad.
	strangers map[string]func(c *call) (value, error)
	get       map[string]func(o *mediaObject) (value, error)
	set       map[string]func(o *mediaObject, v value) error
	fresh     map[string]value
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
	"GStreamerFilter":  {build: buildGStreamerFilter, ops: methodOf{"setElementProperty": setElementProperty}},
	"HttpPostEndpoint": {build: buildHTTPPostEndpoint},
	"HttpEndpoint":     {ops: methodOf{"getUrl": getURL}},
	"MediaPipeline":    {fresh: freshValue{"latencyStats": false}, ops: methodOf{"getGstreamerDot": gstreamerDot}},
	"MediaElement": {
		fresh: freshValue{"encoderBitrate": int64(300000), "minEncoderBitrate": int64(0), "maxEncoderBitrate": int64(2147483647)},
		set: setterOf{"encoderBitrate": setEncoderBitrate, "minEncoderBitrate": setMinEncoderBitrate,
			"maxEncoderBitrate": setMaxEncoderBitrate},
		ops: methodOf{
			"getSourceConnections": getSourceConnections, "getSinkConnections": getSinkConnections,
			"connect": connectElements, "disconnect": disconnectElements, "getStats": getStats,
			"isMediaFlowingIn": isFlowingIn, "isMediaFlowingOut": isFlowingOut, "isMediaTranscoding": isTranscoding,
			"getGstreamerDot": gstreamerDot,
		},
		strangers: methodOf{"connect": crash, "disconnect": doNothing},
	},
	"Hub":       {ops: methodOf{"getGstreamerDot": gstreamerDot}},
	"HubPort":   {build: buildHubPort},
	"Composite": {build: buildHub(newFloor, both, both)},
	"AlphaBlending": {
		build:     buildHub(newFloor, both, audioOnly),
		strangers: methodOf{"setMaster": crash, "setPortProperties": crash},
	},
	"Mixer": {
		build:     buildHub(newMatrix, audioOnly, neither),
		ops:       methodOf{"connect": connectMixer, "disconnect": disconnectMixer},
		strangers: methodOf{"connect": connectMixer, "disconnect": disconnectMixer},
	},
	"Dispatcher": {
		build:     buildHub(newMatrix, neither, neither),
		ops:       methodOf{"connect": connectPorts},
		strangers: methodOf{"connect": crash},
	},
	"DispatcherOneToMany": {
		build:     buildHub(newStage, neither, neither),
		ops:       methodOf{"setSource": setSource, "removeSource": removeSource},
		strangers: methodOf{"setSource": crash},
	},
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
	"UriEndpoint": {
		get: getterOf{"uri": getURI, "state": getURIState},
		ops: methodOf{"pause": pauseURI, "stop": stopURI},
	},
	"PlayerEndpoint": {
		build: buildPlayer,
		get:   getterOf{"videoInfo": getVideoInfo, "position": getPosition, "elementGstreamerDot": getPlayerDot},
		set:   setterOf{"position": setPosition},
		ops:   methodOf{"play": playMedia},
	},
	"RecorderEndpoint": {build: buildRecorder, ops: methodOf{"record": recordMedia, "stopAndWait": stopAndWait}},
	"RtpEndpoint":      {build: buildRtpEndpoint},
	"WebRtcEndpoint": {
		build: buildWebRtcEndpoint,
		fresh: freshValue{"stunServerAddress": "", "stunServerPort": int64(3478), "turnUrl": "", "externalIPv4": "", "externalIPv6": ""},
		get: getterOf{
			"networkInterfaces": getNetworkInterfaces, "iceTcp": crashOnGetIceTCP, "ICECandidatePairs": getCandidatePairs,
			"IceConnectionState": getIceConnectionState, "DtlsConnectionState": getDtlsConnectionState,
		},
		set: setterOf{"turnUrl": setTurnURL, "stunServerPort": within("stunServerPort", 1, 65535)},
		ops: methodOf{
			"gatherCandidates": gatherCandidates, "addIceCandidate": addIceCandidate,
			"createDataChannel": createDataChannel, "closeDataChannel": closeDataChannel,
		},
	},
}
