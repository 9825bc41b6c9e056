// Sign-in over the page, by a token. `executions open` signs in by itself, and leads here afterwards.

import { useState } from "preact/hooks";
import { post, Problem, signedOut } from "../lib/api";
import { Refusal } from "../parts/basics";
import { Modal } from "../parts/palette";

export async function signOut(): Promise<void> {
  await post("/session", undefined, {}, "DELETE").catch(() => undefined);
  signedOut.value = true;
}

export function SignIn() {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState<Problem>();
  const enter = async (shown: { token: string }) => {
    try {
      await post("/session", shown);
      setProblem(undefined);
      signedOut.value = false;
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem(0, "The server cannot be reached", String(error), {}));
    }
  };
  return (
    <Modal title="Sign in" close={() => undefined}>
      <form
        class="sign-in"
        onSubmit={(event) => {
          event.preventDefault();
          void enter({ token: token.trim() });
        }}
      >
        <label>
          Token or API key
          <input
            type="password"
            autoComplete="current-password"
            value={token}
            required
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <button type="submit">Sign in</button>
      </form>
      <Refusal problem={problem} />
      <p class="quiet">
        <code>executions token</code> prints the administrator's; <code>executions open</code> signs in by itself.
      </p>
    </Modal>
  );
}
