// Shows what the city sends, and opens the page of notices on a click. It keeps nothing and answers no request.

self.addEventListener("push", (event) => {
  const news = event.data ? event.data.json() : {};
  event.waitUntil(self.registration.showNotification(String(news.title ?? ""), { body: String(news.body ?? ""), tag: "notices" }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow("/notices"));
});
