// Tells of every `user.created` of a stream on a line of its own, by its id:
// node eventsource.mjs URL TOKEN

import { EventSource } from "eventsource"

const [url, token] = process.argv.slice(2)
const source = new EventSource(url, {
  fetch: (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
})
source.addEventListener("user.created", (event) => console.log(event.lastEventId))
