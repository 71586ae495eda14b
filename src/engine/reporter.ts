/** Where a run tells what happens in it: the extension host, a terminal, or a test. */
import type { EngineNotifications } from '../protocol/engine';

/** The notifications of a run: all but those of completions and of the main thread. */
export type Reporter = { [K in Exclude<keyof EngineNotifications, 'text' | 'telemetry' | 'silent'>]: (params: EngineNotifications[K]) => void };

export const SILENT: Reporter = { started: () => {}, metrics: () => {}, state: () => {}, progress: () => {}, log: () => {}, blocked: () => {}, member: () => {} };
