// What an empty log shows: the first commands, and a wait for the first event.

import { useLive } from "../lib/load";
import { Copy } from "./basics";

const COMMANDS = `executions demo`;
const OWN = `curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" $API/users -d '{"$id": "acme", "name": "Acme", "kind": "organization"}'
curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" $API/services -d '{"$id": "sdr", "name": "Lead outreach", "provider": "acme"}'
curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" $API/orders -d '{"$id": "order-1", "service": "sdr", "customer": "acme"}'
curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" $API/executions -d '{"$id": "run-1", "order": "order-1", "service": "sdr"}'`;

export function FirstSteps({ reload }: { reload: () => void }) {
  useLive(() => true, reload);
  return (
    <section class="first">
      <h1>No executions yet</h1>
      <p>A minute of work to look at, by agents, people and both:</p>
      <pre tabIndex={0}>{COMMANDS}</pre>
      <Copy text={COMMANDS} label="command" />
      <p>
        Or your own, with <code>TOKEN</code> from <code>executions token</code> and{" "}
        <code>API={location.origin}/api</code>:
      </p>
      <pre tabIndex={0}>{OWN}</pre>
      <Copy text={OWN} label="commands" />
      <p role="status">Waiting for the first event …</p>
    </section>
  );
}
