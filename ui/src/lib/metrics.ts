// Figures of the service, as Prometheus reads them: one line each, `name value`.

export function gauges(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [name, value] = line.split(" ");
    if (name && value && !name.startsWith("#") && !name.includes("{")) found.set(name, Number(value));
  }
  return found;
}
