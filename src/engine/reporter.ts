/** Where a run tells what happens in it: the extension host, a terminal, or a test. */
import type { EngineNotifications } from '../protocol/engine';

export type Reporter = { [K in keyof EngineNotifications]: (params: EngineNotifications[K]) => void };

export const SILENT: Reporter = { started: () => {}, metrics: () => {}, state: () => {}, progress: () => {}, log: () => {} };
