// The parts of the API's documents that the dashboard shows. Members it does not know pass through.

export type Status = "queued" | "starting" | "running" | "paused" | "completed" | "failed" | "cancelled" | "retry";

export interface Assignee {
  type: string;
  id?: string;
  name?: string;
  model?: string;
}

export interface Failure {
  code: string;
  message: string | null;
  stack?: string | null;
  step?: string;
  recoverable: boolean;
  retryCount: number;
}

export interface Step {
  id: string;
  name: string;
  status: "pending" | "running" | "completed" | "failed" | "skipped";
  parent?: string;
  kind?: string;
  startedAt?: string;
  completedAt?: string;
  duration?: number;
  assignee?: Assignee;
  input?: unknown;
  output?: unknown;
  error?: Failure;
  reason?: string;
  metrics?: Metrics;
}

export interface Metrics {
  startedAt?: string;
  completedAt?: string;
  duration?: number;
  activeDuration?: number;
  tokensUsed: number;
  cost: number;
  currency: string;
  apiCalls: number;
  retries: number;
  stepsCompleted: number;
  stepsTotal: number;
}

export interface Attempt {
  number: number;
  startedAt: string;
  endedAt?: string;
  outcome?: string;
  error?: Failure;
  delay?: number;
}

export interface LogLine {
  id: number;
  timestamp: string;
  level: string;
  message: string | null;
  step?: string;
  context?: unknown;
}

export interface Execution {
  $id: string;
  order: string;
  service: string;
  workflow?: string;
  customer: string;
  provider: string;
  status: Status;
  progress: number;
  assignee?: Assignee;
  result?: { success: boolean; output: unknown; summary: string | null; artifacts?: unknown[] };
  error?: Failure;
  cancellation?: { reason?: string | null; by: string; at: string };
  pause?: { reason?: string | null; by: string; at: string };
  steps: Step[];
  checkpoints: { id: string; timestamp: string; step?: string }[];
  attempts: Attempt[];
  nextRetryAt?: string;
  stalled?: boolean;
  erased?: boolean;
  claimedBy?: { worker: string; leaseUntil?: string };
  metrics: Metrics;
  logs?: LogLine[];
  logsTotal?: number;
  priority: string;
  timeout: number | null;
  tags: string[];
  metadata: { createdAt: string; updatedAt: string; startedAt?: string; completedAt?: string } & Record<
    string,
    unknown
  >;
  version: number;
  position: number;
}

export interface Envelope {
  id: string;
  type: string;
  subject: string;
  time: string;
  position: number;
  version: number;
  actor: string;
  correlationid?: string;
  occurredat?: string;
  data: unknown;
}

export interface PatchOperation {
  op: string;
  path: string;
  value?: unknown;
  event: { type: string; version: number; position: number };
  actor: string;
  time: string;
}

export interface Facet {
  values: { value: string | null; count: number }[];
  rest?: { values: number; count: number };
}

export interface Page<T> {
  data: T[];
  hasMore: boolean;
  nextCursor: string | null;
  total?: number;
  facets?: Record<string, Facet>;
}

export interface Figures {
  total: number;
  statuses: Record<string, number>;
  successRate: number | null;
  duration: { count: number; mean: number | null; p50: number | null; p95: number | null; p99: number | null };
  totalCost: number;
  tokens: number;
  apiCalls: number;
  errorCodes: Record<string, number>;
  firstSeen?: string;
  lastSeen?: string;
}

export interface Analytics extends Figures {
  groups?: ({ key: string | null | (string | null)[] } & Figures)[];
}

/** Who is signed in, and what it may do. */
export interface Me {
  name: string;
  roles?: string[];
  rights: string[];
}

/** The execution that a page shows: as it is, and as it was at the version that is asked for. */
export interface Shown {
  id: string;
  head: Execution;
  /** The version that is shown, where it is not the newest. */
  version: number | undefined;
  latest: Execution;
}
