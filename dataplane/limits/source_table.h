// How many clients each source address has at one listener, over all workers of a proxy, so that
// one source cannot take every place.
//
// Exact: dividing the limit by the number of workers would refuse a source that the kernel happens
// to send to one of them. Looked at when a client comes and when it goes, never for its bytes, and
// not at all where no limit is set; so a table in parts, each behind a lock that is held for one
// look-up, costs less than anything clever and is never wrong. Its size is that of the clients that
// are here.
//
// An IPv6 source is its /64, what one subscriber is given at least: of single addresses it has
// 2^64.
//
// SourceTable: thread-safe. SourceLease: confined to its worker; gives its place back when it dies.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "common/net/ip_port.h"

namespace trunkline {

class SourceTable {
 public:
  // What of an address tells sources apart.
  using Key = std::pair<IpPort::Family, uint64_t>;

  static Key KeyOf(const IpPort& source) {
    const IpPort plain = source.Unmapped();
    uint64_t prefix = 0;
    std::memcpy(&prefix, plain.ip.data(), sizeof prefix);  // of IPv4 all, of IPv6 the /64
    return {plain.family, prefix};
  }

  // False: `limit` clients of this source are here already.
  bool Enter(const Key& key, uint32_t limit) {
    Shard& shard = ShardOf(key);
    const std::lock_guard lock(shard.mutex);
    uint32_t& count = shard.clients[key];
    // A limit is at least 1, so a source that is refused is in the table anyway.
    if (count >= limit) return false;
    ++count;
    return true;
  }
  void Leave(const Key& key) {
    Shard& shard = ShardOf(key);
    const std::lock_guard lock(shard.mutex);
    const auto it = shard.clients.find(key);
    if (--it->second == 0) shard.clients.erase(it);
  }
  // Sources that have a client.
  size_t size() const {
    size_t sum = 0;
    for (const Shard& shard : shards_) {
      const std::lock_guard lock(shard.mutex);
      sum += shard.clients.size();
    }
    return sum;
  }

 private:
  // Enough that two workers rarely meet in one; every listener has a table, limited or not.
  static constexpr int kShardBits = 4;
  struct alignas(64) Shard {
    // A std::mutex, because ThreadSanitizer does not see inside the system's absl::Mutex.
    mutable std::mutex mutex;
    // absl's hashes are salted: nobody outside can choose addresses that collide.
    absl::flat_hash_map<Key, uint32_t> clients;
  };

  // By the hash's upper bits; the maps go by the lower ones.
  Shard& ShardOf(const Key& key) {
    constexpr int kHashBits = 8 * sizeof(size_t);
    return shards_[absl::Hash<Key>{}(key) >> (kHashBits - kShardBits)];
  }

  std::array<Shard, 1 << kShardBits> shards_;
};

class SourceLease {
 public:
  SourceLease() = default;
  // Empty where the source is at its limit.
  SourceLease(std::shared_ptr<SourceTable> table, const IpPort& source, uint32_t limit)
      : key_(SourceTable::KeyOf(source)) {
    if (table->Enter(key_, limit)) table_ = std::move(table);
  }
  SourceLease(SourceLease&& other) noexcept
      : table_(std::move(other.table_)), key_(std::move(other.key_)) {}
  SourceLease& operator=(SourceLease&& other) noexcept {
    std::swap(table_, other.table_);
    std::swap(key_, other.key_);
    return *this;
  }
  ~SourceLease() {
    if (table_ != nullptr) table_->Leave(key_);
  }

  explicit operator bool() const { return table_ != nullptr; }

 private:
  std::shared_ptr<SourceTable> table_;
  SourceTable::Key key_;
};

}  // namespace trunkline
