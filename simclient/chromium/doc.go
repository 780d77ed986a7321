// Package chromium is a caller in a real Chromium, the engine inside Electron: a
// tab of a headless browser runs the browser's client of package web, and a Client
// here drives it through the DevTools protocol. It does the same as the client of
// package simclient, and tells it in the same events.
//
// What it sends can be proven as theirs can. The camera is a canvas that shows a
// barcode. Every coded unit passes an encoded transform (W3C WebRTC Encoded
// Transform): Chromium's own VP8 frames get a marker behind their last partition,
// and Opus packets are replaced by those of the clip that simclient sends, with a
// marker in each, since a marker takes CELT frames of 10 ms. What is received
// passes another transform, and so the same sinks count it. Besides, the page
// looks at the video element as it is rendered, and the barcode in it is read:
// who is seen, and whether the picture moves, stands still or is black.
//
// All traffic of a client passes a netsim.Link: its WebSocket through a TCP proxy,
// its datagrams through UDP proxies of which the page learns as candidates and
// TURN server instead of the real ones.
package chromium
