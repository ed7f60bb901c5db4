/** The filters above the table of jobs. Every change is an address of its own. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ToggleButton, ToggleButtonGroup } from "react-aria-components";
import type { Place } from "../api/client";
import { Button, Choice, Field } from "../kit/control";
import { State } from "../kit/text";
import type { Trigger } from "../trigger/model";
import { isFiltered, type Filters } from "./filter";
import { triggersQuery } from "./origin";
import { STATES } from "./state";

const SPAN_OPTIONS = [
  ["", "Any time"],
  ["15m", "Last 15 minutes"],
  ["1h", "Last hour"],
  ["24h", "Last 24 hours"],
  ["7d", "Last 7 days"],
] as const;

/** A change is told as what becomes of the filters that are in force by then: a second one may come before the first is drawn. */
type Props = { filters: Filters; onChange: (change: (now: Filters) => Filters) => void };
type Named = { triggers: readonly Trigger[] };

export function FilterBar({ place, filters, onChange }: Props & { place: Place }) {
  const { data: triggers = [] } = useQuery(triggersQuery(place));
  return (
    <search className="filters">
      <ToggleButtonGroup
        aria-label="States"
        className="toggles"
        selectionMode="multiple"
        selectedKeys={filters.state ?? []}
        onSelectionChange={(keys) => {
          const toggled = STATES.filter((state) => keys.has(state) !== (filters.state ?? []).includes(state));
          onChange((now) => ({ ...now, state: STATES.filter((state) => toggled.includes(state) !== (now.state ?? []).includes(state)) }));
        }}
      >
        {STATES.map((state) => (
          <ToggleButton key={state} id={state} className="toggle">
            <State state={state} />
          </ToggleButton>
        ))}
      </ToggleButtonGroup>
      <div className="filter-fields">
        <Words onChange={onChange} />
        <Choice
          label="Created"
          value={filters.since ?? ""}
          options={SPAN_OPTIONS}
          onChange={(since) => onChange((now) => ({ ...now, since: since === "" ? undefined : since, after: undefined, before: undefined }))}
        />
        <FromTrigger triggers={triggers} filters={filters} onChange={onChange} />
      </div>
      <Chips triggers={triggers} filters={filters} onChange={onChange} />
    </search>
  );
}

function Words({ onChange }: Pick<Props, "onChange">) {
  const [name, setName] = useState("");
  const [label, setLabel] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const add = () => {
    if (label && !/^[^=]+=/.test(label)) return setFault("A label is written KEY=VALUE.");
    setFault(null);
    if (!name.trim() && !label.trim()) return;
    onChange((now) => ({
      ...now,
      function: [...new Set([...(now.function ?? []), ...(name.trim() ? [name.trim()] : [])])],
      label: [...new Set([...(now.label ?? []), ...(label.trim() ? [label.trim()] : [])])],
    }));
  };
  return (
    <form
      className="words"
      onSubmit={(event) => {
        event.preventDefault();
        add();
      }}
    >
      <Field label="Function" value={name} onChange={setName} placeholder="image.thumbnail" code />
      <Field label="Label" value={label} onChange={setLabel} placeholder="order=A-17" code fault={fault} />
      <Button type="submit">Filter</Button>
    </form>
  );
}

/** Not there where there is nothing to choose. A trigger that is deleted is known by its id. */
function FromTrigger({ triggers, filters, onChange }: Props & Named) {
  const chosen = filters.trigger ?? "";
  if (triggers.length === 0 && !chosen) return null;
  const gone = chosen && !triggers.some((one) => one.id === chosen) ? [[chosen, chosen] as const] : [];
  const options = [["", "Any, or none"] as const, ...triggers.map((one) => [one.id, one.name] as const), ...gone];
  return <Choice label="Trigger" value={chosen} options={options} onChange={(trigger) => onChange((now) => ({ ...now, trigger: trigger || undefined }))} />;
}

function Chips({ triggers, filters, onChange }: Props & Named) {
  if (!isFiltered(filters)) return null;
  const chips: [string, (now: Filters) => Filters][] = [
    ...(filters.function ?? []).map((name): (typeof chips)[number] => [
      `function ${name}`,
      (now) => ({ ...now, function: now.function?.filter((other) => other !== name) }),
    ]),
    ...(filters.label ?? []).map((label): (typeof chips)[number] => [
      `label ${label}`,
      (now) => ({ ...now, label: now.label?.filter((other) => other !== label) }),
    ]),
  ];
  const trigger = triggers.find((one) => one.id === filters.trigger)?.name ?? filters.trigger;
  if (trigger) chips.push([`trigger ${trigger}`, (now) => ({ ...now, trigger: undefined })]);
  if (filters.after) chips.push([`after ${filters.after}`, (now) => ({ ...now, after: undefined })]);
  if (filters.before) chips.push([`before ${filters.before}`, (now) => ({ ...now, before: undefined })]);
  return (
    <div className="chips">
      {chips.map(([text, without]) => (
        <Button key={text} look="quiet" onPress={() => onChange(without)} aria-label={`Remove the filter ${text}`}>
          <bdi>{text}</bdi> <span aria-hidden="true">×</span>
        </Button>
      ))}
      <Button look="quiet" onPress={() => onChange(() => ({}))}>
        Clear all
      </Button>
    </div>
  );
}
