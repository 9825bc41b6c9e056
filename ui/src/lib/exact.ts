// JSON of which integers beyond 2^53 keep their digits, where the browser knows `JSON.rawJSON`; elsewhere they are
// rounded.

/** What TypeScript does not know of yet. */
interface Raw {
  rawJSON?: (text: string) => object;
  isRawJSON?: (value: unknown) => boolean;
}

const json: JSON & Raw = JSON;

/** Like `JSON.parse`; a long integer becomes what `JSON.stringify` writes as it was. */
export function parseExactly(text: string): unknown {
  const raw = json.rawJSON?.bind(JSON);
  if (!raw || !/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value: unknown, context?: { source?: string }) => {
    const source = context?.source;
    const isLong = typeof value === "number" && !Number.isSafeInteger(value) && source && /^-?\d+$/.test(source);
    return isLong ? raw(source) : value;
  });
}

export function isLongInteger(value: unknown): boolean {
  return json.isRawJSON?.(value) ?? false;
}
