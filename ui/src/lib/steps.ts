// All steps of a version without their content: 10 000 of them are 1.6 MB, and the server folds them once.

import { get, segment } from "./api";
import type { Step } from "./types";

export async function slimSteps(id: string, version: number, abort: AbortSignal): Promise<Step[]> {
  return (await get<Step[]>(`/executions/${segment(id)}/steps`, { version, slim: true }, abort)).body;
}
