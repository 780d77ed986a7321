// Package kurento is a client of Kurento Media Server (KMS) over its JSON-RPC
// protocol on a WebSocket.
//
// A [Client] owns one connection and one KMS session. It gives every call a
// deadline, hands the events of one object to their subscribers one after the
// other in the order of arrival, notices a dead or stuck connection, and
// resumes its session on a new one:
//
//	client, err := kurento.Dial(ctx, kurento.Config{URL: "ws://127.0.0.1:8888/kurento"})
//	pipeline, err := client.CreateMediaPipeline(ctx)
//	endpoint, err := pipeline.CreateWebRtcEndpoint(ctx, kurento.WebRtcEndpointOptions{})
//	_, err = endpoint.Subscribe(ctx, onEvent, kurento.EventIceCandidateFound)
//	answer, err := endpoint.ProcessOffer(ctx, offer)
//	err = endpoint.GatherCandidates(ctx)
//
// What has no typed helper is reached through [Object.Invoke], [Client.Create]
// and [Client.Call].
//
// The behaviour that the client relies on was measured on KMS 7.3.0; the
// recordings in testdata are held against it by the tests.
package kurento
