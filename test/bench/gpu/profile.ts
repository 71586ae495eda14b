/**
 * Where a step on a device spends its time, out of the files that ONNX Runtime writes with `LORA_LAB_PROFILE`. A provider that
 * asks its device for timestamps writes one event for each kernel (`Add_12&Add&Add`: node, op, program); host times of nodes
 * are there always, and tell of a provider that computes later only how long it takes to put kernels into the queue.
 */
import { readFileSync } from 'node:fs';

/** An op, or of a device's kernels op and program: calls and milliseconds of one step. */
export interface OpTime { op: string; calls: number; ms: number }
export interface Profile {
  /** Times of the device; undefined where the provider tells none. */
  kernels: OpTime[] | undefined;
  /** Times of the host. */
  nodes: OpTime[];
  /** Nodes that another provider than the first one ran, by op. */
  elsewhere: string[];
}

interface Event { cat: string; name: string; ts: number; dur: number; args?: { op_name?: string; provider?: string } }

/** Their time is that of the nodes in them, which are told too. */
const CONTAINERS = new Set(['If']);

/** Reads all files of one run of `steps` steps, one for each session, and adds them up. */
export function readProfile(files: string[], steps: number): Profile {
  const kernels = new Map<string, OpTime>(), nodes = new Map<string, OpTime>();
  const providers = new Map<string, string>();
  for (const file of files) {
    const events = JSON.parse(readFileSync(file, 'utf8')) as Event[];
    const compiled = endOfFirstStep(events, steps);
    for (const { cat, name, ts, dur, args } of events) {
      if (cat === 'Node' && name.endsWith('_kernel_time') && args?.op_name) {
        if (ts >= compiled && !CONTAINERS.has(args.op_name)) add(nodes, args.op_name, dur);
        providers.set(`${args.op_name}, ${args.provider}`, args.provider ?? '');
      } else if (cat === 'Api' || cat === 'Kernel') {
        const [, op, program] = name.split('&');
        add(kernels, op === undefined ? name : op === program || program === undefined ? op : `${op} (${program})`, dur);
      }
    }
  }
  const [main] = [...providers.values()].filter(provider => provider !== 'CPUExecutionProvider');
  const sorted = (times: Map<string, OpTime>, over: number): OpTime[] =>
    [...times.values()].map(({ op, calls, ms }) => ({ op, calls: calls / over, ms: ms / over })).sort((a, b) => b.ms - a.ms);
  return {
    kernels: kernels.size ? sorted(kernels, steps) : undefined, nodes: sorted(nodes, steps - 1),
    elsewhere: [...providers].filter(([, provider]) => main !== undefined && provider !== main).map(([op]) => op),
  };
}

/** In the first step the host compiles the kernels: its times say nothing about later ones. */
function endOfFirstStep(events: Event[], steps: number): number {
  const runs = events.filter(({ name }) => name === 'model_run').sort((a, b) => a.ts - b.ts);
  const last = runs[Math.ceil(runs.length / steps) - 1];
  return last === undefined ? 0 : last.ts + last.dur;
}

function add(times: Map<string, OpTime>, op: string, microseconds: number): void {
  const time = times.get(op) ?? { op, calls: 0, ms: 0 };
  times.set(op, { op, calls: time.calls + 1, ms: time.ms + microseconds / 1000 });
}

/** A table of the ops that take the most time, and what of a step of `step_ms` they fill. */
export function profileTable({ kernels, nodes, elsewhere }: Profile, step_ms: number, rows = 15): string[] {
  const times = kernels ?? nodes;
  const total = sum(times, 'ms');
  const rest = times.slice(rows);
  const line = ({ op, calls, ms }: OpTime): string => `| ${op} | ${Math.round(calls)} | ${ms.toFixed(2)} | ${(100 * ms / total).toFixed(1)} % |`;
  return [
    `${kernels ? `Kernels on the device take ${total.toFixed(1)} ms` : `The device tells no times of its kernels; the host is busy with nodes for ${total.toFixed(1)} ms`} of a step that takes ${step_ms.toFixed(1)} ms without the profiler`
      + `${kernels ? `; the host is busy with nodes for ${sum(nodes, 'ms').toFixed(1)} ms` : ''}. ${Math.round(sum(times, 'calls'))} ${kernels ? 'kernels' : 'nodes'} a step.`
      + ` Nodes that another provider ran: ${elsewhere.join('; ') || 'none'}.`, '',
    `| ${kernels ? 'op (program)' : 'op'} | calls a step | ms a step | share |`, '| --- | --- | --- | --- |', ...times.slice(0, rows).map(line),
    ...(rest.length ? [line({ op: `${rest.length} others`, calls: sum(rest, 'calls'), ms: sum(rest, 'ms') })] : []),
  ];
}

const sum = (times: OpTime[], key: 'calls' | 'ms'): number => times.reduce((total, time) => total + time[key], 0);
