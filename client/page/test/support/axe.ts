/** Accessibility checks with axe. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

interface Result {
  violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[];
}
declare const axe: { run(options: object): Promise<Result> };

const script = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export async function assertAccessible(page: Page, view: string): Promise<void> {
  await page.evaluate(script);
  const { violations } = await page.evaluate(() =>
    // Target size (WCAG 2.2, 2.5.8) is not among axe's default rules.
    axe.run({ rules: { 'target-size': { enabled: true } } }),
  );
  const found = violations.map(({ id, nodes }) => [
    id,
    ...nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`),
  ]);
  assert.deepEqual(found, [], view);
}
