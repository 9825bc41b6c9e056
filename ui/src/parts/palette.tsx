// Go anywhere from the keyboard: Ctrl-K opens a list of places and actions, `?` lists the keys.

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { go, link } from "../lib/route";

export const PLACES = [
  { name: "Executions", path: "/", keys: "g l", right: "executions.read" },
  { name: "Errors", path: "/errors", keys: "g e", right: "analytics.read" },
  { name: "Cost", path: "/cost", keys: "g c", right: "analytics.read" },
  { name: "Inbox", path: "/inbox", keys: "g i", right: "executions.read" },
  { name: "Audit", path: "/audit", keys: "g a", right: "proofs.read" },
  { name: "Operations", path: "/operations", keys: "g o", right: "operate" },
];

const KEYS: [string, string][] = [
  ["Ctrl K", "Search for a page or an execution"],
  ["/", "Go to the filter of this page"],
  ["?", "These keys"],
  ...PLACES.map((place): [string, string] => [place.keys, place.name]),
  ["j, k", "Next, previous row of the list"],
  ["Enter", "Open the row"],
  ["[, ]", "On an execution: one version back, one forward"],
  ["t, e, s, l", "On an execution: timeline, events, steps, log"],
  ["Escape", "Close what is open"],
];

type Shown = "" | "palette" | "keys";

export function Palette() {
  const [shown, setShown] = useState<Shown>("");
  const after = useRef("");
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setShown("palette");
        return;
      }
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "?") setShown("keys");
      else if (event.key === "/") focusFilter(event);
      else if (after.current === "g") {
        const place = PLACES.find((each) => each.keys === `g ${event.key}`);
        if (place) go(link(place.path));
      }
      after.current = event.key;
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
  // A dialog says that it has closed when another may be open already.
  const closed = (which: Shown) => setShown((before) => (before === which ? "" : before));
  return (
    <>
      <button type="button" class="small" onClick={() => setShown("palette")} aria-keyshortcuts="Control+K">
        Go to… <kbd>Ctrl K</kbd>
      </button>
      {shown === "palette" && <Search close={() => closed("palette")} />}
      {shown === "keys" && <KeysHelp close={() => closed("keys")} />}
    </>
  );
}

const LETTERS = "executions.letters";
/** Whether single letters are shortcuts; those who dictate, or whose hands shake, switch them off (WCAG 2.1.4). */
const letters = signal(localStorage.getItem(LETTERS) !== "off");

function setLetters(on: boolean): void {
  localStorage.setItem(LETTERS, on ? "on" : "off");
  letters.value = on;
}

/** Whether keys are no shortcuts: they go into a field, or were switched off. */
export function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  return (
    !letters.value ||
    target.matches("input, select, textarea, [contenteditable]") || document.querySelector("dialog[open]") !== null
  );
}

function focusFilter(event: KeyboardEvent): void {
  const field = document.querySelector<HTMLElement>("[data-filter]");
  if (field) {
    event.preventDefault();
    field.focus();
  }
}

function Search({ close }: { close: () => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const wanted = text.trim();
  const found = PLACES.filter((place) => place.name.toLowerCase().includes(wanted.toLowerCase())).map((place) => ({
    name: place.name,
    address: link(place.path),
  }));
  if (!letters.value) found.push({ name: "Switch single keys on", address: "" });
  if (wanted) {
    found.push({ name: `Open execution “${wanted}”`, address: link(`/executions/${encodeURIComponent(wanted)}`) });
    found.push({ name: `Executions whose id begins with “${wanted}”`, address: link("/", { "$id[prefix]": wanted }) });
  }
  const choose = (index: number) => {
    const chosen = found[index];
    close();
    if (chosen?.address === "") setLetters(true);
    else if (chosen) go(chosen.address);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") setAt(Math.min(at + 1, found.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(at - 1, 0));
    else if (event.key === "Enter") choose(at);
    else return;
    event.preventDefault();
  };
  return (
    <Modal title="Go to" close={close}>
      <input
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={`palette-${at}`}
        aria-label="Page, or id of an execution"
        placeholder="Page, or id of an execution"
        value={text}
        onInput={(event) => (setText(event.currentTarget.value), setAt(0))}
        onKeyDown={press}
      />
      <ul id="palette-list" role="listbox" aria-label="Places">
        {found.map((each, index) => (
          <li
            key={each.name}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === at}
            onClick={() => choose(index)}
          >
            {each.name}
          </li>
        ))}
      </ul>
    </Modal>
  );
}

function KeysHelp({ close }: { close: () => void }) {
  return (
    <Modal title="Keys" close={close}>
      <label class="inline">
        <input
          type="checkbox"
          checked={letters.value}
          onChange={(event) => setLetters(event.currentTarget.checked)}
        />
        Single keys are shortcuts
      </label>
      <table>
        <tbody>
          {KEYS.map(([keys, what]) => (
            <tr key={keys}>
              <th scope="row">
                <kbd>{keys}</kbd>
              </th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Modal>
  );
}

export function Modal({
  title,
  close,
  children,
}: {
  title: string;
  close: () => void;
  children: preact.ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current!;
    shown.showModal();
    return () => shown.close();
  }, []);
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="dialog-title">
      <form method="dialog" class="dialog-head">
        <h2 id="dialog-title">{title}</h2>
        <button class="small" aria-label="Close">
          ✕
        </button>
      </form>
      {children}
    </dialog>
  );
}
