/**
 * The bench for a machine with a GPU: is every family right on it, how fast are we beside PEFT on the same card, and where does
 * the time go. Writes markdown, again after every row, so that what was measured stays when the rest is cut off.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listGpus } from '../../../src/engine/executors/hardware';
import { probe } from '../../../src/engine/executors/probe';
import { onnxVersion } from '../../../src/engine/executors/start';
import type { DeviceName } from '../../../src/protocol/devices';
import { DEVICES } from '../../../src/protocol/experiment';
import { median } from '../arithmetic';
import type { Row } from '../rows';
import { askTorch, lacks, ourArms, peftArms, refusal, type Arm, type GpuMeasurement, type Torch } from './arms';
import { compareFamily, familyCases, type FamilyResult } from './families';
import { profileTable, readProfile } from './profile';
import { SHAPES } from './shapes';
import { familyTable, speedTable, type ArmResult } from './tables';

export interface GpuOptions { rows?: string; rounds: string; shapes?: string; devices?: string; families?: string; portions?: string; out?: string }

/** Measured steps of a profile: enough to see past the first one, few enough for files of some megabytes. */
const PROFILED_STEPS = 3;

/** Measures and prints. `families` names model types, or is `none`; `rows`, `devices` and `portions` are lists, too. By default a batch is computed in the engine's own portions and as a whole. */
export async function measureGpu({ rows, rounds, shapes = 'full', devices = 'webgpu,cuda,tensorflow', families, portions = '512,8192', out }: GpuOptions): Promise<void> {
  if (shapes !== 'full' && shapes !== 'tiny') throw new Error('--shapes is full or tiny');
  const wanted = devices.split(',') as DeviceName[];
  const unknown = wanted.find(name => !(DEVICES as readonly string[]).includes(name) || (name as string) === 'auto');
  if (unknown) throw new Error(`--devices: there is no device "${unknown}"`);
  const tokens = portions.split(',').map(Number);
  if (!tokens.every(count => Number.isInteger(count) && count > 0)) throw new Error('--portions are numbers of tokens');
  const chosen = rows ? rows.split(',').map(number => SHAPES[shapes][Number(number) - 1]) : SHAPES[shapes];
  if (chosen.includes(undefined as never)) throw new Error(`--rows: there are rows 1 to ${SHAPES[shapes].length}`);

  const torch = await askTorch();
  const states = await Promise.all(wanted.map(async device => ({ device, result: await probe(device) })));
  const text = [await heading(torch, rounds, chosen[0]), ...states.map(({ device, result }) => `- ${device}: ${result.ok ? `${result.runs}${result.software ? `, ${result.driver ?? 'a driver'}, in software` : ''}` : lacks(result)}`), ''];
  const write = (more: string[]): void => { if (out) writeFileSync(out, `${[...text, ...more].join('\n')}\n`); };
  const say = (...lines: string[]): void => { text.push(...lines); console.log(lines.join('\n')); write([]); };
  console.log(text.join('\n'));

  const works = states.filter(({ result }) => result.ok).map(({ device }) => device);
  for (const device of works.filter(name => name !== 'cpu')) {
    const results = await checkFamilies(device, families);
    if (results.length) say(...familyTable(device, results), '');
  }
  const done: { row: Row; arms: ArmResult[] }[] = [];
  const profiles: string[] = [];
  for (const row of chosen) {
    const arms = [...works.flatMap(device => ourArms(device, tokens)), ...(torch ? peftArms(torch) : [])];
    done.push({ row, arms: await measureArms(row, arms, Number(rounds)) });
    for (const { arm, measured } of done.at(-1)!.arms) if (arm.profiled && measured.length) profiles.push(await profile(row, arm, measured), '');
    write([...speedTable(done), '', ...profiles]);
  }
  say(...speedTable(done), '', ...profiles);
  if (!torch) console.log('Set LORA_LAB_PYTHON to a Python with torch, transformers and peft to compare with PEFT.');
}

async function heading(torch: Torch | undefined, rounds: string, { steps, warm_up }: Row): Promise<string> {
  const gpus = await listGpus();
  const cards = gpus.map(({ name, memory_bytes, driver }) => [name, memory_bytes === null ? null : `${(memory_bytes / 2 ** 30).toFixed(0)} GiB`, driver].filter(Boolean).join(', ')).join('; ');
  return `${cards || 'No GPU'}; ${new Date().toISOString().slice(0, 10)}; onnxruntime ${onnxVersion()} on Node ${process.versions.node}${torch ? `; ${torch.description}` : ''}. Medians of ${rounds} rounds in turns, ${steps - warm_up!} steps after ${warm_up} of warm-up.\n`;
}

async function checkFamilies(device: string, families: string | undefined): Promise<FamilyResult[]> {
  const results: FamilyResult[] = [];
  for (const of of familyCases().filter(({ family }) => families === undefined || families.split(',').includes(family))) {
    results.push(await compareFamily(of, device));
    const { family, task, difference, error } = results.at(-1)!;
    console.log(`  ${device}, ${family} ${task}: ${error ?? difference!.toExponential(1)}`);
  }
  return results;
}

/** Every arm in turn, as often as there are rounds; an arm that is refused is not asked again. */
async function measureArms(row: Row, arms: Arm[], rounds: number): Promise<ArmResult[]> {
  const results: ArmResult[] = arms.map(arm => ({ arm, measured: [] as GpuMeasurement[] }));
  for (let round = 0; round < rounds; round++) {
    for (const result of results) {
      if (result.error !== undefined) continue;
      try { result.measured.push(await result.arm.measure(row)); } catch (error) { result.error = refusal(error); }
      console.log(`  ${row.name}, ${result.arm.name}: ${result.error ?? `${result.measured.at(-1)!.tokens_per_second.toFixed(0)} tokens/s`}`);
    }
  }
  return results;
}

/** One run more, with the profiler. */
async function profile(row: Row, arm: Arm, measured: GpuMeasurement[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lora-lab-profile-'));
  const title = `**${row.name}, ${arm.name}.**`;
  try {
    await arm.measure({ ...row, steps: PROFILED_STEPS, warm_up: 1 }, { LORA_LAB_PROFILE: join(folder, 'times') });
    const step_ms = 1000 * row.batch / median(measured.map(m => m.examples_per_second));
    return `${title} ${profileTable(readProfile(readdirSync(folder).map(name => join(folder, name)), PROFILED_STEPS), step_ms).join('\n')}`;
  } catch (error) { return `${title} No profile: ${refusal(error)}`; } finally { rmSync(folder, { recursive: true, force: true }); }
}
