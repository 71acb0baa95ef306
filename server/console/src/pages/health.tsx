import { json } from "../api"
import licences from "../licences.txt?url"
import type { Health } from "../types"
import { Badge, Busy, duration, sentence, Title, Trouble, useLoaded, usePolling, when } from "../ui"

export function HealthPage() {
  const { value, trouble, setValue } = useLoaded((signal) => json<Health>("/health", { signal }), [])
  usePolling(async () => setValue(await json<Health>("/health")), 5, true)
  return (
    <>
      <Title>Health</Title>
      {trouble && <Trouble of={trouble} />}
      {!value && !trouble && <Busy />}
      {value && (
        <>
          <p>
            <Badge kind={value.status === "healthy" ? "good" : "warn"}>{value.status}</Badge> Version {value.version}, running for{" "}
            {duration(value.uptime)}; seen {when(value.timestamp)}.
          </p>
          <ul class="cards">
            {value.services.map((service) => (
              <li key={service.service_name} class="card">
                <div class="row between">
                  <h2>{service.service_name.replaceAll("_", " ")}</h2>
                  <Badge kind={service.status === "healthy" ? "good" : service.status === "starting" ? "warn" : "bad"}>{service.status}</Badge>
                </div>
                {service.model && (
                  <p class="small">
                    <code>{service.model}</code>
                  </p>
                )}
                {service.reason && <p>{sentence(service.reason)}</p>}
              </li>
            ))}
          </ul>
        </>
      )}
      <p class="small">
        <a href={licences} target="_blank" rel="noreferrer">
          Works of others in this console
        </a>
      </p>
    </>
  )
}
