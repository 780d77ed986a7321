-- +goose Up
-- Names of users, rooms and calls are compared byte by byte, which VARBINARY does: "Alice" and "alice " are not "alice".
-- Times are UTC. Durations are seconds.
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS rooms (
  id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  roomId      VARBINARY(128)  NOT NULL,
  roomType    VARCHAR(16)     NOT NULL,
  creator     VARBINARY(128)  NOT NULL,
  createdTime DATETIME(3)     NOT NULL,
  endedTime   DATETIME(3)     NULL,
  status      VARCHAR(16)     NOT NULL,
  metadata    JSON            NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY rooms_start (roomId, createdTime)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS room_members (
  id        BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  roomId    VARBINARY(128)  NOT NULL,
  userId    VARBINARY(128)  NOT NULL,
  joinTime  DATETIME(3)     NOT NULL,
  leaveTime DATETIME(3)     NULL,
  role      VARCHAR(16)     NOT NULL,
  duration  INT UNSIGNED    NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY room_members_stay (roomId, joinTime, userId),
  KEY room_members_user (roomId, userId, joinTime)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS recordings (
  id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  roomId        VARBINARY(128)  NOT NULL,
  recordingFile VARBINARY(512)  NOT NULL,
  startTime     DATETIME(3)     NOT NULL,
  endTime       DATETIME(3)     NULL,
  duration      INT UNSIGNED    NOT NULL,
  fileSize      BIGINT UNSIGNED NOT NULL,
  participants  JSON            NOT NULL,
  status        VARCHAR(16)     NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY recordings_file (recordingFile),
  KEY recordings_room (roomId, startTime, recordingFile)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS calls (
  id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  callId     VARBINARY(128)  NOT NULL,
  roomId     VARBINARY(128)  NOT NULL,
  caller     VARBINARY(128)  NOT NULL,
  callee     VARBINARY(128)  NOT NULL,
  node       VARCHAR(128)    NOT NULL,
  startTime  DATETIME(3)     NOT NULL,
  ringTime   DATETIME(3)     NULL,
  answerTime DATETIME(3)     NULL,
  endTime    DATETIME(3)     NULL,
  duration   INT UNSIGNED    NOT NULL,
  reason     VARCHAR(32)     NOT NULL,
  outcome    VARCHAR(16)     NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY calls_call (callId)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS participants (
  id        BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  callId    VARBINARY(128)  NOT NULL,
  userId    VARBINARY(128)  NOT NULL,
  role      VARCHAR(16)     NOT NULL,
  startTime DATETIME(3)     NOT NULL,
  missed    TINYINT         NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY participants_call (callId, role),
  KEY participants_user (userId, startTime, callId),
  KEY participants_missed (userId, missed, startTime, callId)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS users (
  id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  userId      VARBINARY(128)  NOT NULL,
  createdTime DATETIME(3)     NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY users_user (userId)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS contacts (
  id        BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  userId    VARBINARY(128)  NOT NULL,
  contactId VARBINARY(128)  NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY contacts_pair (userId, contactId)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS blocks (
  id        BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  userId    VARBINARY(128)  NOT NULL,
  blockedId VARBINARY(128)  NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY blocks_pair (userId, blockedId)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS messages (
  id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  owner         VARBINARY(128)  NOT NULL,
  number        BIGINT UNSIGNED NOT NULL,
  messageId     VARBINARY(128)  NOT NULL,
  fromUser      VARBINARY(128)  NOT NULL,
  toUser        VARBINARY(128)  NOT NULL,
  content       MEDIUMTEXT      NOT NULL,
  callLog       JSON            NULL,
  sentTime      DATETIME(3)     NOT NULL,
  deliveredTime DATETIME(3)     NULL,
  PRIMARY KEY (id),
  UNIQUE KEY messages_message (owner, fromUser, messageId),
  KEY messages_owner (owner, number),
  KEY messages_waiting (deliveredTime, number),
  KEY messages_sent (sentTime)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- +goose StatementEnd

-- +goose Down
DROP TABLE IF EXISTS messages;
DROP TABLE IF EXISTS blocks;
DROP TABLE IF EXISTS contacts;
DROP TABLE IF EXISTS users;
DROP TABLE IF EXISTS participants;
DROP TABLE IF EXISTS calls;
DROP TABLE IF EXISTS recordings;
DROP TABLE IF EXISTS room_members;
DROP TABLE IF EXISTS rooms;
