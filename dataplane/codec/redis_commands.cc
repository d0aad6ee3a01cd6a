#include "dataplane/codec/redis_commands.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

namespace trunkline {
namespace {

struct Rule {
  std::string_view name;
  // The command is dedicated only with this word among its arguments, at any position; always, if
  // empty. A key of that name costs its client a dedicated connection, while a missed option would
  // break the connection of all other clients.
  std::string_view argument = {};
  // The command is shared if this word is its first argument. The server refuses a CLIENT SETINFO
  // that the proxy does not answer.
  std::string_view unless = {};
};

// From the command reference of Redis 8 and its modules, sorted by name.
constexpr Rule kDedicated[] = {
    {"ASKING"},                      // state: for the next command
    {"AUTH"},                        // state: the user; see redis_introduction.h
    {"BF.SCANDUMP"},                 // its cursor belongs to the server
    {"BLMOVE"},                      // blocks
    {"BLMPOP"},                      // blocks
    {"BLPOP"},                       // blocks
    {"BRPOP"},                       // blocks
    {"BRPOPLPUSH"},                  // blocks
    {"BZMPOP"},                      // blocks
    {"BZPOPMAX"},                    // blocks
    {"BZPOPMIN"},                    // blocks
    {"CF.SCANDUMP"},                 // its cursor belongs to the server
    {"CLIENT", "", "SETINFO"},       // state: name, replies, tracking
    {"DEBUG"},                       // blocks: SLEEP
    {"DISCARD"},                     // state: the transaction
    {"EXEC"},                        // state: the transaction
    {"FAILOVER"},                    // stops the server's clients
    {"FT.AGGREGATE", "WITHCURSOR"},  // its cursor belongs to the server
    {"FT.CURSOR"},                   // its cursor belongs to the server
    {"FT.HYBRID", "WITHCURSOR"},     // its cursor belongs to the server
    {"FT.PROFILE", "WITHCURSOR"},    // its cursor belongs to the server
    {"HELLO"},                       // state: the protocol's version; see redis_introduction.h
    {"HOST:"},                       // ends the connection: Redis takes it for HTTP
    {"HSCAN"},                       // its cursor belongs to the server
    {"MIGRATE"},                     // blocks
    {"MONITOR"},                     // many replies
    {"MULTI"},                       // state: the transaction
    {"POST"},                        // ends the connection: Redis takes it for HTTP
    {"PSUBSCRIBE"},                  // many replies
    {"PSYNC"},                       // many replies
    {"PUNSUBSCRIBE"},                // many replies
    {"READONLY"},                    // state: of a cluster's client
    {"READWRITE"},                   // state: of a cluster's client
    {"REPLCONF"},                    // state: of a replica
    {"RESET"},                       // state: all of it
    {"SCAN"},                        // its cursor belongs to the server
    {"SCRIPT", "DEBUG"},             // state: the next EVAL is a debugging session
    {"SELECT"},                      // state: the database
    {"SHUTDOWN"},                    // ends the connection
    {"SSCAN"},                       // its cursor belongs to the server
    {"SSUBSCRIBE"},                  // many replies
    {"SUBSCRIBE"},                   // many replies
    {"SUNSUBSCRIBE"},                // many replies
    {"SYNC"},                        // many replies
    {"UNSUBSCRIBE"},                 // many replies
    {"UNWATCH"},                     // state: watched keys
    {"WAIT"},                        // blocks; state: the connection's last write
    {"WAITAOF"},                     // blocks; state: the connection's last write
    {"WATCH"},                       // state: watched keys
    {"XREAD", "BLOCK"},              // blocks
    {"XREADGROUP", "BLOCK"},         // blocks
    {"ZSCAN"},                       // its cursor belongs to the server
};

// Announces to newer clients that a managed server is about to move. It concerns the connection to
// that server, which the proxy handles itself.
constexpr std::string_view kMaintNotifications = "MAINT_NOTIFICATIONS";

constexpr bool Sorted() { return std::ranges::is_sorted(kDedicated, {}, &Rule::name); }
static_assert(Sorted());

// Commands that leave the same data when they are executed twice: those that only read, and writes
// of given values to given places. A reply may differ (DEL counts what it found). Commands that
// decide something by the previous value (SETNX, GETSET), add to it (INCR, APPEND, LPUSH), choose
// at random (SPOP), run code (EVAL) or send a message are not among them, nor are unknown ones, nor
// those by whose reply clients learn that they were the first: SADD of a deduplicator, SREM and
// ZREM of a worker that takes a job.
constexpr std::string_view kRepeatable[] = {
    "BITCOUNT",
    "BITFIELD_RO",
    "BITPOS",
    "CLIENT",
    "COMMAND",
    "DBSIZE",
    "DEL",
    "DUMP",
    "ECHO",
    "EVALSHA_RO",
    "EVAL_RO",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "FCALL_RO",
    "GEODIST",
    "GEOHASH",
    "GEOPOS",
    "GEOSEARCH",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HDEL",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HMSET",
    "HRANDFIELD",
    "HSCAN",
    "HSET",
    "HSTRLEN",
    "HVALS",
    "INFO",
    "KEYS",
    "LCS",
    "LINDEX",
    "LLEN",
    "LPOS",
    "LRANGE",
    "MGET",
    "MSET",
    "OBJECT",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PFCOUNT",
    "PING",
    "PSETEX",
    "PTTL",
    "RANDOMKEY",
    "SCAN",
    "SCARD",
    "SDIFF",
    "SET",
    "SETEX",
    "SINTER",
    "SINTERCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SORT_RO",
    "SRANDMEMBER",
    "SSCAN",
    "STRLEN",
    "SUBSTR",
    "SUNION",
    "TIME",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
    "XACK",
    "XDEL",
    "XINFO",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREAD",
    "XREVRANGE",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZLEXCOUNT",
    "ZMSCORE",
    "ZRANDMEMBER",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREMRANGEBYLEX",
    "ZREMRANGEBYSCORE",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
    "ZUNION",
};
static_assert(std::ranges::is_sorted(kRepeatable));

// Arguments, at any position, with which a command is not repeatable after all: the reply of SET NX
// says who holds a lock.
constexpr std::string_view kDecisiveForSet[] = {"NX", "GET", "IFEQ", "IFNE", "IFDEQ", "IFDNE"};
constexpr std::string_view kDecisiveForZadd[] = {"INCR", "NX", "CH"};
constexpr std::string_view kDecisiveForExpire[] = {"NX", "GT", "LT"};

std::span<const std::string_view> DecisiveFor(std::string_view name) {
  if (name == "SET") return kDecisiveForSet;
  if (name == "ZADD") return kDecisiveForZadd;
  for (const std::string_view expire : {"EXPIRE", "EXPIREAT", "PEXPIRE", "PEXPIREAT"}) {
    if (name == expire) return kDecisiveForExpire;
  }
  return {};
}

constexpr size_t Longest() {
  size_t longest = kMaintNotifications.size();
  for (const Rule& rule : kDedicated) {
    longest = std::max({longest, rule.name.size(), rule.argument.size(), rule.unless.size()});
  }
  for (const std::string_view name : kRepeatable) longest = std::max(longest, name.size());
  return longest;
}

const Rule* Find(std::string_view name) {
  const Rule* rule = std::ranges::lower_bound(kDedicated, name, {}, &Rule::name);
  return rule != std::end(kDedicated) && rule->name == name ? rule : nullptr;
}

char Capital(uint8_t letter) {
  return static_cast<char>(letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter);
}

}  // namespace

void RedisCommandClassifier::Remember(std::span<const uint8_t> piece) {
  static_assert(kLongestWord == Longest());
  const size_t size = std::min(piece.size(), word_.size() - word_size_);
  std::transform(piece.begin(), piece.begin() + size, word_.begin() + word_size_, Capital);
  word_size_ += static_cast<uint8_t>(size);
  printable_ =
      printable_ && std::ranges::all_of(piece, [](uint8_t b) { return b > ' ' && b < 127; });
}

void RedisCommandClassifier::EndWord() {
  if (!reading_words_) return;
  const std::string_view word(word_.data(), word_size_);
  word_size_ = 0;
  if (at_name_) {
    at_name_ = false;
    EndName(word);
  } else {
    EndArgument(word);
  }
  printable_ = true;
  const bool may_be_shared_again = !sharing_argument_.empty();
  reading_words_ = may_be_shared_again || (!dedicated_ && !watched_argument_.empty()) ||
                   (repeatable_ && !decisive_.empty()) || local_ != Local::kNot;
}

void RedisCommandClassifier::EndName(std::string_view name) {
  const Rule* rule = Find(name);
  if (rule != nullptr) watched_argument_ = rule->argument;
  if (rule != nullptr) sharing_argument_ = rule->unless;
  dedicated_ = rule != nullptr && rule->argument.empty();
  repeatable_ = std::ranges::binary_search(kRepeatable, name);
  decisive_ = DecisiveFor(name);
  if (name == "QUIT") local_ = Local::kQuit;
  if (name == "CLIENT") local_ = Local::kClient;
  if (name == "AUTH") introduces_ = Introduces::kUser;
  if (name == "HELLO") introduces_ = Introduces::kVersion;
}

// Libraries send these on every connection: CLIENT SETINFO LIB-NAME or LIB-VER with a value, CLIENT
// SETNAME with a name, CLIENT TRACKING OFF, CLIENT MAINT_NOTIFICATIONS.
RedisCommandClassifier::Local RedisCommandClassifier::LocalAfter(std::string_view word) const {
  switch (local_) {
    case Local::kQuit:
      return Local::kQuit;  // Redis ignores its arguments
    case Local::kClient:
      if (word == "SETINFO") return Local::kInfo;
      if (word == "SETNAME") return Local::kName;
      if (word == kMaintNotifications) return Local::kUnknown;
      return word == "TRACKING" ? Local::kTracking : Local::kNot;
    case Local::kInfo:
      return word == "LIB-NAME" || word == "LIB-VER" ? Local::kInfoValue : Local::kNot;
    case Local::kInfoValue:
    case Local::kName:
      return printable_ ? Local::kOk : Local::kNot;
    case Local::kTracking:
      return word == "OFF" ? Local::kOk : Local::kNot;
    case Local::kUnknown:
      return Local::kUnknown;
    case Local::kNot:
    case Local::kOk:
      break;
  }
  return Local::kNot;
}

void RedisCommandClassifier::EndArgument(std::string_view word) {
  local_ = LocalAfter(word);
  if (std::ranges::find(decisive_, word) != decisive_.end()) repeatable_ = false;
  if (!sharing_argument_.empty()) {
    dedicated_ = word != sharing_argument_;
    sharing_argument_ = {};
  } else if (!watched_argument_.empty() && word == watched_argument_) {
    dedicated_ = true;
  }
}

}  // namespace trunkline
