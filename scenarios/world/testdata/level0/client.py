#!/usr/bin/python3
"""A minimal client of level 0, written from docs/protocol.md and docs/calls.md alone.

    client.py --url ws://HOST:PORT/ws --token JWT (call USER | wait) [--media-seconds 5] [--hangup-after 3]

It makes or takes one call, prints one line of JSON for each event and exits 0 when the call was a whole one: accepted,
offered and answered, audio and video received, ended. Needs aiortc (1.4) and websockets (10.4).
"""

import argparse
import asyncio
import base64
import json
import sys
import time

import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack
from aiortc.sdp import candidate_from_sdp

KINDS = ("audio", "video")
START = time.monotonic()


def event(name, **members):
    print(json.dumps({"event": name, "t": round(time.monotonic() - START, 3), **members}), flush=True)


class Failed(Exception):
    pass


class Client:
    def __init__(self, args, ws):
        self.args = args
        self.ws = ws
        self.room = None
        self.pc = None
        self.answered = False  # by the media server
        self.early = []  # its candidates that came before its answer
        self.frames = dict.fromkeys(KINDS, 0)
        self.ready = False
        self.whole = False
        self.tasks = []

    # --- signaling ---

    async def send(self, type_, action=None, **data):
        frame = {"type": type_, "data": data}
        if action:
            frame["action"] = action
        # roomId could be left out altogether; it goes with everything once it is known.
        if action and self.room and "targetUser" not in data:
            data["roomId"] = self.room
        await self.ws.send(json.dumps(frame))

    async def run(self):
        # Whoever says nothing can be called only after a second, and is not told when that is over. So this client asks
        # for its own state at once; an answer will do, or a refusal
        # of this question.
        payload = self.args.token.split(".")[1]
        me = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
        await self.send("state", userId=me)
        try:
            async for raw in self.ws:
                frame = json.loads(raw)
                if await self.handle(frame.get("type"), frame.get("action"), frame.get("data", {})):
                    return
            if not self.whole:
                raise Failed("the connection was closed with %s" % self.ws.close_code)
        except websockets.ConnectionClosedError as err:
            raise Failed("the connection was closed with %s" % err.code)
        finally:
            for task in self.tasks:
                task.cancel()
            if self.pc:
                await self.pc.close()

    async def handle(self, type_, action, data):
        """Handles one frame of the server; True when the call is over."""
        what = (type_, action)
        if type_ in ("state", "error") and not self.ready:
            if data.get("code") == "unauthorized":
                raise Failed("the token is not valid")
            self.ready = True
            event("connected")
            if self.args.user:
                await self.send("rtc", "call", targetUser=self.args.user)
        elif type_ == "rtc_invite":
            self.room = data["roomId"]
            event("incoming", **{"from": data["from"], "roomId": self.room})
            await self.send("rtc", "answer")
            event("accepted")
            await self.offer()  # need not wait for anything: nothing would tell that the answer was taken
        elif what == ("rtc", "answer") and "sdp" not in data:
            self.room = data["roomId"]
            event("accepted", userId=data["userId"], roomId=self.room)
            await self.offer()
        elif what == ("rtc", "answer"):
            await self.pc.setRemoteDescription(RTCSessionDescription(data["sdp"], "answer"))
            event("answer_sdp", bytes=len(data["sdp"]))
            self.answered = True
            for candidate in self.early:
                await self.add(candidate)
        elif what == ("rtc", "candidate"):
            # The server's follow its answer, but nothing is lost by not relying on that.
            if self.answered:
                await self.add(data)
            else:
                self.early.append(data)
        elif what == ("rtc", "leave"):
            await self.report()
            await self.send("rtc", "leave")
            event("ended", by=data.get("userId"), confirmed=True)
            return True
        elif type_ == "error":
            # Errors do not say which frame they are about. A refused candidate need not be the end (the others may do);
            # everything else that this client sends is sent once and needed.
            event("error", code=data.get("code"), message=data.get("message"))
            if data.get("code") != "invalid_candidate":
                raise Failed("refused: %s" % data.get("code"))
        return False  # messages, states and what is not known are ignored

    # --- media ---

    async def offer(self):
        # Level 0 is told of no ICE servers: host candidates only.
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        # One track of each kind, both ways. The document asks for a video codec and leaves the rest open.
        self.pc.addTrack(AudioStreamTrack())
        self.pc.addTrack(VideoStreamTrack())
        self.pc.on("iceconnectionstatechange", lambda: event("ice", state=self.pc.iceConnectionState))
        self.pc.on("connectionstatechange", lambda: event("connection", state=self.pc.connectionState))
        self.pc.on("track", self.track)
        # aiortc gathers in here, so the offer has its candidates already. The document wants them as frames all the same.
        await self.pc.setLocalDescription(await self.pc.createOffer())
        await self.send("rtc", "offer", sdp=self.pc.localDescription.sdp)
        event("offer_sent", bytes=len(self.pc.localDescription.sdp))
        index, sent = -1, 0
        for line in self.pc.localDescription.sdp.splitlines():
            if line.startswith("m="):
                index += 1
            elif line.startswith("a=candidate:"):
                await self.send("rtc", "candidate", candidate=line[len("a="):], sdpMLineIndex=index)
                sent += 1
        event("candidates_sent", count=sent)  # that there are no more is not said at level 0
        self.tasks.append(asyncio.create_task(self.media()))

    async def add(self, data):
        text = data.get("candidate")
        if not text:
            return  # no more; level 0 need not know
        candidate = candidate_from_sdp(text[len("candidate:"):] if text.startswith("candidate:") else text)
        if candidate.component != 1:
            return
        # aiortc finds the m-line by its mid only; a server of level 0 need not tell it.
        mids = [t.mid for t in self.pc.getTransceivers()]
        candidate.sdpMid = data.get("sdpMid") or mids[data.get("sdpMLineIndex") or 0]
        await self.pc.addIceCandidate(candidate)
        event("candidate", type=candidate.type, ip=candidate.ip, port=candidate.port, protocol=candidate.protocol)

    def track(self, track):
        event("track", kind=track.kind)
        self.tasks.append(asyncio.create_task(self.consume(track)))

    async def consume(self, track):
        try:
            while True:
                await track.recv()
                self.frames[track.kind] += 1
        except MediaStreamError:
            pass

    async def packets(self):
        received, sent = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
        for stats in (await self.pc.getStats()).values():
            if stats.type == "inbound-rtp":
                received[stats.kind] += stats.packetsReceived
            elif stats.type == "outbound-rtp":
                sent[stats.kind] += stats.packetsSent
        return received, sent

    async def media(self):
        """Waits for media of both kinds; then hangs up, if that is for this side to do."""
        try:
            deadline = time.monotonic() + self.args.media_seconds
            while not all(self.frames.values()):  # decoded ones, which packets alone need not become
                if time.monotonic() > deadline:
                    raise Failed("no media within %g s" % self.args.media_seconds)
                await asyncio.sleep(0.05)
            event("media")
            if self.args.hangup_after is None:
                return
            await asyncio.sleep(self.args.hangup_after)
            await self.report()
            # The party that leaves is told nothing more, so there is nothing to wait for.
            await self.send("rtc", "leave")
            event("ended", by="me")
        except Failed as err:
            event("failed", why=str(err))
        await self.ws.close()

    async def report(self):
        received, sent = await self.packets() if self.pc else ({}, {})
        for kind in KINDS:
            event("received", kind=kind, packets=received.get(kind, 0), frames=self.frames[kind], sent=sent.get(kind, 0))
        self.whole = self.answered and all(self.frames.values())


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--media-seconds", type=float, default=5, help="media of both kinds must come within this time of the offer")
    parser.add_argument("--hangup-after", type=float, help="hang up so many seconds after it came; else the other one does")
    parser.add_argument("--timeout", type=float, default=60, help="of everything")
    parser.add_argument("what", choices=("call", "wait"))
    parser.add_argument("user", nargs="?", help="whom to call")
    args = parser.parse_args()
    if (args.what == "call") != bool(args.user):
        parser.error("call USER, or wait")

    try:
        header = {"Authorization": "Bearer " + args.token}
        async with websockets.connect(args.url, extra_headers=header, max_size=1 << 16) as ws:
            client = Client(args, ws)
            await asyncio.wait_for(client.run(), args.timeout)
            whole = client.whole
    except (Failed, OSError, asyncio.TimeoutError, websockets.WebSocketException) as err:
        event("failed", why=str(err) or type(err).__name__)
        return 1
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
