-- What each channel said to each message, so that a retry does not repeat those
-- that took it. A message is named by its key: notice/ID, payment/INVOICE/….
CREATE TABLE notice_deliveries (
    message_key text COLLATE "C" NOT NULL CHECK (length(message_key) <= 300),
    channel     text COLLATE "C" NOT NULL CHECK (length(channel) <= 40),
    status      text             NOT NULL CHECK (status IN ('delivered', 'failed', 'refused')),
    attempts    int              NOT NULL DEFAULT 1,
    failure     text             NOT NULL DEFAULT '',
    tried_at    timestamptz      NOT NULL DEFAULT now(), -- wall clock
    PRIMARY KEY (message_key, channel)
);
