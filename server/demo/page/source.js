// Where picture and sound come from.

export async function open(kind, label) {
  if (kind === 'devices') return navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } })
  return pattern(label)
}

// pattern needs no camera, so that two tabs of one machine can call each other:
// a clock face with the user's name, and a quiet tone.
function pattern(label) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 480 })
  const c = canvas.getContext('2d')
  const hue = [...label].reduce((h, x) => (h * 31 + x.charCodeAt(0)) % 360, 7)
  const draw = () => {
    const t = performance.now() / 1000
    c.fillStyle = `hsl(${hue} 45% 28%)`
    c.fillRect(0, 0, 640, 480)
    c.strokeStyle = c.fillStyle = '#fff'
    c.lineWidth = 8
    c.beginPath()
    c.arc(320, 210, 130, 0, 7)
    c.moveTo(320, 210)
    c.lineTo(320 + 110 * Math.sin(t * 2), 210 - 110 * Math.cos(t * 2))
    c.stroke()
    c.font = 'bold 48px system-ui, sans-serif'
    c.textAlign = 'center'
    c.fillText(label, 320, 430)
  }
  draw()
  const timer = setInterval(draw, 50) // goes on in a tab behind, as requestAnimationFrame would not
  const audio = new AudioContext()
  const tone = new OscillatorNode(audio, { frequency: 220 + hue })
  const out = new MediaStreamAudioDestinationNode(audio)
  tone.connect(new GainNode(audio, { gain: 0.03 })).connect(out)
  tone.start()
  const stream = new MediaStream([...canvas.captureStream(20).getVideoTracks(), ...out.stream.getAudioTracks()])
  stream.close = () => { clearInterval(timer); audio.close() }
  return stream
}

export function close(stream) {
  stream?.getTracks().forEach((t) => t.stop())
  stream?.close?.()
}
