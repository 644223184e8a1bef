import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { DiagnosticSeverity, Parser } from '@asyncapi/parser';

const committed = new URL('../../../schema/asyncapi.json', import.meta.url);

describe('schema/asyncapi.json', { timeout: 120_000 }, () => {
  it('is valid', async () => {
    const { document, diagnostics } = await new Parser().parse(await readFile(committed, 'utf8'));
    const problems = diagnostics.filter(({ severity }) => severity <= DiagnosticSeverity.Warning);
    assert.deepEqual(problems, []);
    assert.ok(document);
    assert.deepEqual(
      document
        .channels()
        .all()
        .map(channel => channel.address()),
      ['/ws/{user}', '/echo'],
    );
    for (const operation of document.operations().all()) {
      assert.ok(operation.messages().length > 0, operation.id());
    }
    for (const message of document.components().messages().all()) {
      assert.ok(message.payload(), message.id());
    }
  });

  it('would be reported if it were not', async () => {
    const invalid = JSON.parse(await readFile(committed, 'utf8'));
    invalid.operations.sendFrame.messages.push({ $ref: '#/channels/session/messages/None' });
    delete invalid.channels.session.parameters;
    const { diagnostics } = await new Parser().parse(JSON.stringify(invalid));
    assert.ok(diagnostics.some(({ severity }) => severity === DiagnosticSeverity.Error));
  });
});
