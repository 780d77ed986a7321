-- +goose Up
-- What goes on is found without reading what is over. MySQL has no CREATE INDEX IF NOT EXISTS, and no transaction around it: who
-- was stopped in between goes on.
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'rooms' AND index_name = 'rooms_open');
SET @statement = IF(@missing, 'CREATE INDEX rooms_open ON rooms (status, createdTime)', 'DO 0');
PREPARE statement FROM @statement;
EXECUTE statement;
DEALLOCATE PREPARE statement;
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'calls' AND index_name = 'calls_open');
SET @statement = IF(@missing, 'CREATE INDEX calls_open ON calls (node, endTime, startTime)', 'DO 0');
PREPARE statement FROM @statement;
EXECUTE statement;
DEALLOCATE PREPARE statement;
