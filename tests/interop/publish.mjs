// Publishes H.264 by WHIP with libdatachannel, in the way OBS's output does it: the same tracks and handlers, an offer
// without waiting for candidates, the status exactly 201, Location's path on the endpoint's host, DELETE exactly 200.
//
//   node publish.mjs URL FILE FPS [TOKEN]     FILE: access units, each behind its length as 4 bytes, big-endian
//
// One JSON line for each thing that happens. Ends when its input does.
import { readFileSync } from "node:fs";
import rtc from "node-datachannel";

const [url, file, fps, token] = process.argv.slice(2);
const say = (event) => console.log(JSON.stringify(event));
const headers = { "Content-Type": "application/sdp", ...(token ? { Authorization: `Bearer ${token}` } : {}) };

function* units(bytes) {
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    yield bytes.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
}

const pc = new rtc.PeerConnection("publisher", { iceServers: [], disableAutoNegotiation: true });
const [audioSsrc, videoSsrc] = [3388068600, 3388068601];
const audio = new rtc.Audio("0", "SendOnly");
audio.addOpusCodec(111);
audio.addSSRC(audioSsrc, "cname", "stream", "stream-audio");
const video = new rtc.Video("1", "SendOnly");
video.addH264Codec(96);
video.addSSRC(videoSsrc, "cname", "stream", "stream-video");
pc.addTrack(audio);
const track = pc.addTrack(video);
const config = new rtc.RtpPacketizationConfig(videoSsrc, "cname", 96, 90000);
const packetizer = new rtc.H264RtpPacketizer("StartSequence", config, 1200);
packetizer.addToChain(new rtc.RtcpSrReporter(config));
packetizer.addToChain(new rtc.RtcpNackResponder());
track.setMediaHandler(packetizer);
pc.onStateChange((state) => say({ state }));
pc.setLocalDescription();

const answer = await fetch(url, { method: "POST", headers, body: pc.localDescription().sdp });
const text = await answer.text();
say({ status: answer.status, location: answer.headers.get("location"), type: answer.headers.get("content-type") });
if (answer.status !== 201) {
  say({ refused: text });
  process.exit(2);
}
pc.setRemoteDescription(text, "answer");

const frames = [...units(readFileSync(file))];
let sent = 0;
const pump = setInterval(() => {
  if (track.isOpen()) {
    config.timestamp += Math.round(90000 / fps);
    track.sendMessageBinary(frames[sent++ % frames.length]);
  }
}, 1000 / fps);

process.stdin.resume();
process.stdin.on("end", async () => {
  clearInterval(pump);
  pc.close();
  const resource = new URL(url);
  resource.pathname = answer.headers.get("location");
  resource.search = "";
  const gone = await fetch(resource, { method: "DELETE", headers: token ? { Authorization: headers.Authorization } : {} });
  say({ deleted: gone.status, sent });
  process.exit(0);
});
