// A list of which only the rows in view are in the document, however many there are.

import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

interface Props {
  count: number;
  height: number;
  label: string;
  row: (index: number) => ComponentChildren;
  /** Scroll so that this row is in view. */
  reveal?: number | undefined;
  /** Called with the first and the last row that are in the document. */
  inView?: (first: number, last: number) => void;
}

export function Rows({ count, height, label, row, reveal, inView }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [, redraw] = useState(0);
  const virtualizer = useRef<Virtualizer<HTMLDivElement, Element> | undefined>(undefined);
  const options = {
    count,
    estimateSize: () => height,
    getScrollElement: () => box.current,
    overscan: 12,
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    onChange: () => redraw((turn) => turn + 1),
  };
  virtualizer.current ??= new Virtualizer(options);
  virtualizer.current.setOptions(options);
  useLayoutEffect(() => virtualizer.current!._didMount(), []);
  useLayoutEffect(() => virtualizer.current!._willUpdate());
  useEffect(() => {
    if (reveal !== undefined && reveal >= 0) virtualizer.current!.scrollToIndex(reveal, { align: "auto" });
  }, [reveal]);
  const items = virtualizer.current.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (count > 0) inView?.(first, last);
  }, [first, last, count, inView]);
  return (
    <div class="rows" ref={box} role="list" aria-label={label} tabIndex={0}>
      <div class="rows-inner" style={{ height: `${virtualizer.current.getTotalSize()}px` }}>
        {items.map((item) => (
          <div
            key={item.key}
            class="row"
            role="listitem"
            aria-posinset={item.index + 1}
            aria-setsize={count}
            style={{ transform: `translateY(${item.start}px)`, height: `${height}px` }}
          >
            {row(item.index)}
          </div>
        ))}
      </div>
    </div>
  );
}
