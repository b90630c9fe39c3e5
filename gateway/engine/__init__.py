"""Floor 1: sessions, mailboxes, runners, workers, the hub. Everything here lives on the event loop or in a worker."""
