// An auditor says what it reads for; the service keeps that with each read.

import { useState } from "preact/hooks";
import { purpose, purposeWanted, setPurpose } from "../lib/api";
import { Modal } from "../parts/palette";

export function AskPurpose() {
  const [text, setText] = useState(purpose.value);
  return (
    <Modal title="What do you read this for?" close={() => (purposeWanted.value = false)}>
      <form
        class="sign-in"
        onSubmit={(event) => {
          event.preventDefault();
          setPurpose(text.trim());
        }}
      >
        <label>
          Purpose
          <input
            value={text}
            required
            maxLength={200}
            pattern="[ -~]+"
            title="Letters, digits and signs of ASCII"
            placeholder="Annual audit 2026, case 17"
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <button type="submit">Go on</button>
      </form>
      <p class="quiet">It is recorded with every read, for those whose executions these are.</p>
    </Modal>
  );
}
