#!/bin/bash
# Makes the database that the environment names, and runs MariaDB. It listens once database and user are there.
#
#   MYSQL_ROOT_PASSWORD              root's password; or MYSQL_ALLOW_EMPTY_PASSWORD=yes
#   MYSQL_DATABASE                   a database
#   MYSQL_USER, MYSQL_PASSWORD       who may do everything in it
set -euo pipefail
data=/var/lib/mysql
case "${1:-}" in
  '' | -*) ;;
  mysqld | mariadbd) shift ;;
  *) exec "$@" ;;
esac
if [ -z "${MYSQL_ROOT_PASSWORD:-}${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ]; then
  echo "MYSQL_ROOT_PASSWORD is missing, or MYSQL_ALLOW_EMPTY_PASSWORD=yes" >&2
  exit 1
fi

# quoted is a string of SQL.
quoted() { local text=${1//\\/\\\\}; printf "'%s'" "${text//\'/\'\'}"; }

if [ ! -e "$data/.made" ]; then # else what a first start that was broken off has left is made anew
  mariadb-install-db --no-defaults --datadir="$data" --auth-root-authentication-method=normal --skip-test-db >/tmp/install.log 2>&1 || { cat /tmp/install.log >&2; exit 1; }
  touch "$data/.made"
fi
install -m 600 /dev/null /tmp/first.sql # passwords are in it
{
  echo "ALTER USER root@localhost IDENTIFIED BY $(quoted "${MYSQL_ROOT_PASSWORD:-}");"
  echo "CREATE USER IF NOT EXISTS root@'%';"
  echo "ALTER USER root@'%' IDENTIFIED BY $(quoted "${MYSQL_ROOT_PASSWORD:-}");"
  echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
  echo "CREATE USER IF NOT EXISTS health@localhost;" # who asks whether it is there, and may nothing else
  if [ -n "${MYSQL_DATABASE:-}" ]; then echo "CREATE DATABASE IF NOT EXISTS \`${MYSQL_DATABASE//\`/\`\`}\`;"; fi
  if [ -n "${MYSQL_USER:-}" ]; then
    user="$(quoted "$MYSQL_USER")@'%'"
    echo "CREATE USER IF NOT EXISTS $user;"
    echo "ALTER USER $user IDENTIFIED BY $(quoted "${MYSQL_PASSWORD:-}");"
    if [ -n "${MYSQL_DATABASE:-}" ]; then echo "GRANT ALL ON \`${MYSQL_DATABASE//\`/\`\`}\`.* TO $user;"; fi
  fi
} >/tmp/first.sql
exec mariadbd --no-defaults --datadir="$data" --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/mysqld.pid --init-file=/tmp/first.sql \
  --character-set-server=utf8mb4 --skip-name-resolve "$@"
