// Counts the clients of each source address at one listener, over all workers, so that one source
// cannot take all places.
//
// The count is exact: dividing the limit by the number of workers would refuse a source whose
// connections the kernel happens to send to one of them. The table is used only when a client
// arrives or leaves, and only if a limit is set, so a sharded table with a lock per look-up is
// cheap enough. Its size is bounded by the number of open clients.
//
// An IPv6 source is its /64, the least that one subscriber is assigned: it contains 2^64 addresses.
//
// SourceTable: thread-safe. SourceLease: confined to its worker; gives its place back when
// destroyed.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "common/base/check.h"
#include "common/net/ip_port.h"

namespace trunkline {

class SourceTable {
 public:
  // The part of an address that identifies its source.
  using Key = std::pair<IpPort::Family, uint64_t>;

  static Key KeyOf(const IpPort& source) {
    const IpPort plain = source.Unmapped();
    uint64_t prefix = 0;
    // All of an IPv4 address, the /64 of an IPv6 address.
    std::memcpy(&prefix, plain.ip.data(), sizeof prefix);
    return {plain.family, prefix};
  }

  // Returns false if `limit` clients of this source are open already; otherwise counts one more.
  bool Enter(const Key& key, uint32_t limit) {
    Shard& shard = ShardOf(key);
    const std::lock_guard lock(shard.mutex);
    uint32_t& count = shard.clients[key];
    // A limit is at least 1, so a refused source has an entry already.
    if (count >= limit) return false;
    ++count;
    return true;
  }
  void Leave(const Key& key) {
    Shard& shard = ShardOf(key);
    const std::lock_guard lock(shard.mutex);
    const auto it = shard.clients.find(key);
    TRUNKLINE_CHECK(it != shard.clients.end(), "only a client that entered leaves");
    if (--it->second == 0) shard.clients.erase(it);
  }
  // Returns the number of sources that have a client.
  size_t size() const {
    size_t sum = 0;
    for (const Shard& shard : shards_) {
      const std::lock_guard lock(shard.mutex);
      sum += shard.clients.size();
    }
    return sum;
  }

 private:
  // Enough that two workers rarely contend for one shard. Every listener has a table, limited or
  // not.
  static constexpr int kShardBits = 4;
  struct alignas(64) Shard {
    // A std::mutex, because ThreadSanitizer does not see inside the system's absl::Mutex.
    mutable std::mutex mutex;
    // absl salts its hashes, so clients cannot choose addresses that collide.
    absl::flat_hash_map<Key, uint32_t> clients;
  };

  // Shards use the hash's upper bits, because the maps use the lower ones.
  Shard& ShardOf(const Key& key) {
    constexpr int kHashBits = 8 * sizeof(size_t);
    return shards_[absl::Hash<Key>{}(key) >> (kHashBits - kShardBits)];
  }

  std::array<Shard, 1 << kShardBits> shards_;
};

class SourceLease {
 public:
  SourceLease() = default;
  // Empty if the source is at its limit.
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
