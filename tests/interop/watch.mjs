// Watches by WHEP with libdatachannel: counts pictures (RTP markers) and the texts on the data channel.
//
//   node watch.mjs URL [TOKEN]      One JSON line for each thing that happens. Ends when its input does.
import rtc from "node-datachannel";

const [url, token] = process.argv.slice(2);
const say = (event) => console.log(JSON.stringify(event));
const headers = { "Content-Type": "application/sdp", ...(token ? { Authorization: `Bearer ${token}` } : {}) };

const pc = new rtc.PeerConnection("viewer", { iceServers: [], disableAutoNegotiation: true });
const video = new rtc.Video("0", "RecvOnly");
video.addH264Codec(96);
const track = pc.addTrack(video);
track.setMediaHandler(new rtc.RtcpReceivingSession());
const channel = pc.createDataChannel("results");
const seen = { pictures: 0, bytes: 0 };
track.onMessage((packet) => {
  if (packet.length > 12 && (packet[1] & 0x7f) === 96) {
    seen.bytes += packet.length;
    if (packet[1] & 0x80 && ++seen.pictures % 10 === 0) say({ pictures: seen.pictures });
  }
});
channel.onMessage((text) => say({ text: JSON.parse(text).type }));
pc.onStateChange((state) => say({ state }));
pc.setLocalDescription();

const answer = await fetch(url, { method: "POST", headers, body: pc.localDescription().sdp });
say({ status: answer.status, location: answer.headers.get("location") });
const text = await answer.text();
if (answer.status !== 201) {
  say({ refused: text });
  process.exit(2);
}
pc.setRemoteDescription(text, "answer");

process.stdin.resume();
process.stdin.on("end", async () => {
  pc.close();
  const resource = new URL(answer.headers.get("location"), url);
  const gone = await fetch(resource, { method: "DELETE", headers: token ? { Authorization: headers.Authorization } : {} });
  say({ deleted: gone.status, ...seen });
  process.exit(0);
});
