// Server-sent events over fetch, resumed by cursor. Unlike EventSource it sees the status of the answer.

export interface Frame {
  id: string;
  event: string;
  data: string;
}

/** Split a stream of bytes into frames (WHATWG HTML, "Server-sent events"). */
export async function* frames(body: ReadableStream<Uint8Array>): AsyncGenerator<Frame> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let text = "";
  let frame: Frame = { id: "", event: "", data: "" };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const lines = text.split(/\r\n|\n|\r(?!$)/);
      text = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (frame.data || frame.event || frame.id) yield frame;
          frame = { id: "", event: "", data: "" };
          continue;
        }
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const rest = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") frame.data += (frame.data ? "\n" : "") + rest;
        else if (name === "event" || name === "id") frame[name] = rest;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
