/** The panel's drawings, each one path on a 16 × 16 grid. */
import { icon } from './dom';

const PATHS = {
  start: 'M4 2.5v11l9-5.5z',
  pause: 'M4 3h3v10H4zM9 3h3v10H9z',
  stop: 'M3.5 3.5h9v9h-9z',
  save: 'M2 2h9.5L14 4.5V14H2zM4 3.5V6.5h6V3.5zM5 9v3.5h6V9z',
  merge: 'M3 2h2c0 3 3 3.5 3 6 0-2.5 3-3 3-6h2c0 4-4 4.5-4 7.5h2L8 13.5 5 9.5h2C7 6.5 3 6 3 2z',
  error: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zM7.25 4v5h1.5V4zm0 6.25v1.5h1.5v-1.5z',
  warning: 'M8 1.5 15 14H1zM7.25 6v4h1.5V6zm0 5v1.5h1.5V11z',
  done: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zM6.9 11.4l5-5.6-1.1-1-4 4.4-2-1.9-1 1.1z',
  dot: 'M8 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8z',
  ring: 'M8 3.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
  lock: 'M5 7V5a3 3 0 0 1 6 0v2h1.5v7h-9V7zM6.5 7h3V5a1.5 1.5 0 0 0-3 0z',
} as const;

export type IconName = keyof typeof PATHS;

/** A drawing by name. */
export const drawn = (name: IconName): SVGElement => icon(PATHS[name], `icon-${name}`);
