// @ts-check
// The cards of orders in the chat page of the server. There is no build: the server adds this file to the page.

/** @import { OrderAction, OrderUpdated } from '../content.js' */
/** @import { Renderer } from 'dmwire/page' */

const LABELS = { pay: 'Pay now', cancel: 'Cancel the order' };

/** @param {OrderUpdated['order']['total']} money */
function formatted({ amount, currency }) {
  const format = new Intl.NumberFormat([], { style: 'currency', currency });
  return format.format(amount / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 0));
}

/** @type {Renderer<OrderUpdated, OrderAction>} */
const showOrder = ({ order, actions = [] }, { isMine }) => ({
  title: `Order ${order.id}: ${order.status}`,
  details: [formatted(order.total)],
  lines: order.lines.map(({ name, quantity }) => `${quantity} × ${name}`),
  ...(order.url && { link: { label: 'Show in the shop', url: order.url } }),
  // The shop sees the card without buttons.
  actions: isMine
    ? []
    : actions.map(action => ({
        label: LABELS[action],
        send: { type: 'order.action', order_id: order.id, action },
      })),
});

/** @type {Renderer<OrderAction>} */
const showAction = ({ order_id, action }) => ({ title: `${LABELS[action]}: ${order_id}` });

dmwire.addRenderer('order.updated', showOrder);
dmwire.addRenderer('order.action', showAction);
