// A shop that sends a customer the card of an order, and handles the customer's actions.

import { connect, newId } from 'dmwire';
import type { AppContent, OrderUpdated } from './content.js';

const [customer = '8888', url = 'http://localhost:8080'] = process.argv.slice(2);
const client = connect<AppContent>({ url, user: 'shop', device: 'shop' });

let content: OrderUpdated = {
  type: 'order.updated',
  order: {
    id: `A-${Date.now()}`,
    status: 'placed',
    lines: [
      { name: 'Coffee', quantity: 2 },
      { name: 'Cake', quantity: 1 },
    ],
    total: { amount: 1150, currency: 'EUR' },
  },
  actions: ['pay', 'cancel'],
};
const card = newId();

client.on('message', async ({ from_user, message }) => {
  if (typeof message === 'string' || message.type !== 'order.action') return;
  // From here on, `message` is an `OrderAction`. Any user may send one, and a button may be pressed twice.
  if (from_user !== customer || message.order_id !== content.order.id) return;
  if (!content.actions?.includes(message.action)) return;
  const status = message.action === 'pay' ? 'paid' : 'cancelled';
  content = { type: 'order.updated', order: { ...content.order, status } };
  await client.edit(customer, card, content);
  console.log(`${content.order.id}: ${status}`);
});

await client.send(customer, content, { id: card });
console.log(`${content.order.id}: ${content.order.status}`);
