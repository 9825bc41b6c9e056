// How the service stands: readiness, views, webhooks and jobs, before anything fails.

import { get } from "../lib/api";
import { useLive, useLoad, useTitle } from "../lib/load";
import { count } from "../lib/time";
import type { Page } from "../lib/types";
import { Fact, Facts, Refusal, When, Wide } from "../parts/basics";
import { Json } from "../parts/json";

interface View {
  view: string;
  position: number;
  lag: number;
  parked: number;
  rebuild?: { position: number; progress: number };
}

interface Hook {
  $id: string;
  url: string;
  health?: { state: string; waiting: number; givenUp: number; failingSince?: string };
}

interface Job {
  $id: string;
  command: string;
  status: string;
  done: number;
  refused: number;
}

export function OperationsPage() {
  useTitle("Operations");
  const ready = useLoad("ready", async (abort) => (await get<Record<string, unknown>>("/readyz", {}, abort)).body);
  const views = useLoad(
    "views",
    async (abort) => (await get<{ position: number; data: View[] }>("/projections", {}, abort)).body,
  );
  const hooks = useLoad("hooks", async (abort) => (await get<Page<Hook>>("/webhooks", {}, abort)).body);
  const jobs = useLoad("jobs", async (abort) => (await get<Page<Job>>("/jobs", {}, abort)).body);
  useLive(
    () => true,
    () => (views.reload(), jobs.reload()),
    2_000,
  );
  return (
    <section>
      <h1>Operations</h1>
      <Refusal problem={ready.problem} retry={ready.reload} />
      {ready.data && (
        <Facts>
          {Object.entries(ready.data).map(([name, value]) => (
            <Fact key={name} name={name}>
              {value !== null && typeof value === "object" ? <Json value={value} open /> : String(value)}
            </Fact>
          ))}
        </Facts>
      )}
      <h2>Views</h2>
      <Refusal problem={views.problem} retry={views.reload} />
      {views.data && (
        <Wide label="Views">
          <table>
            <caption>The log is at position {count(views.data.position)}.</caption>
            <thead>
              <tr>
                <th scope="col">View</th>
                {["Position", "Behind", "Events it could not apply"].map((title) => (
                  <th key={title} scope="col" class="number">
                    {title}
                  </th>
                ))}
                <th scope="col">Rebuild</th>
              </tr>
            </thead>
            <tbody>
              {views.data.data.map((view) => (
                <tr key={view.view}>
                  <th scope="row">{view.view}</th>
                  <td class="number">{count(view.position)}</td>
                  <td class="number">{count(view.lag)}</td>
                  <td class="number">{count(view.parked)}</td>
                  <td>{view.rebuild ? `${view.rebuild.progress} %` : "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
      <h2>Webhooks of the log</h2>
      <Refusal problem={hooks.problem} retry={hooks.reload} />
      {hooks.data?.data.length === 0 && <p class="quiet">There are none.</p>}
      {hooks.data && hooks.data.data.length > 0 && (
        <Wide label="Webhooks">
          <table>
            <thead>
              <tr>
                <th scope="col">Webhook</th>
                <th scope="col">URL</th>
                <th scope="col">State</th>
                <th scope="col" class="number">
                  Waiting
                </th>
                <th scope="col" class="number">
                  Given up
                </th>
                <th scope="col">Failing since</th>
              </tr>
            </thead>
            <tbody>
              {hooks.data.data.map((hook) => (
                <tr key={hook.$id}>
                  <th scope="row">{hook.$id}</th>
                  <td>{hook.url}</td>
                  <td>{hook.health?.state ?? "–"}</td>
                  <td class="number">{count(hook.health?.waiting)}</td>
                  <td class="number">{count(hook.health?.givenUp)}</td>
                  <td>
                    <When at={hook.health?.failingSince} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
      <h2>Jobs</h2>
      <Refusal problem={jobs.problem} retry={jobs.reload} />
      {jobs.data?.data.length === 0 && <p class="quiet">There are none.</p>}
      {jobs.data && jobs.data.data.length > 0 && (
        <Wide label="Jobs">
          <table>
            <thead>
              <tr>
                <th scope="col">Job</th>
                <th scope="col">Command</th>
                <th scope="col">Status</th>
                <th scope="col" class="number">
                  Done
                </th>
                <th scope="col" class="number">
                  Refused
                </th>
              </tr>
            </thead>
            <tbody>
              {jobs.data.data.map((job) => (
                <tr key={job.$id}>
                  <th scope="row">{job.$id}</th>
                  <td>{job.command}</td>
                  <td>{job.status}</td>
                  <td class="number">{count(job.done)}</td>
                  <td class="number">{count(job.refused)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
    </section>
  );
}
