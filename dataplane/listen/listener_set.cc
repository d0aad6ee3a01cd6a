#include "dataplane/listen/listener_set.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/unique_fd.h"
#include "common/net/address.h"
#include "common/net/listen_addresses.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "common/observe/metrics_page.h"
#include "dataplane/listen/inheritance.h"

namespace trunkline {
namespace {

absl::StatusOr<std::vector<UniqueFd>> CopiesOf(const std::vector<UniqueFd>& sockets) {
  std::vector<UniqueFd> copies;
  for (const UniqueFd& socket : sockets) {
    absl::StatusOr<UniqueFd> copy = CopyOf(socket);
    if (!copy.ok()) return copy.status();
    copies.push_back(*std::move(copy));
  }
  return copies;
}

Address BoundAddress(Address wanted, const std::vector<UniqueFd>& sockets) {
  wanted.port = static_cast<uint16_t>(BoundPort(sockets.front().get()));
  return wanted;
}

// Returns true if a plain bind of one may fail because of a socket on the other.
bool MayCollide(const ListenPlace& a, const ListenPlace& b) {
  return a.Overlaps(b) || (a.port() == b.port() && (a.is_name() || b.is_name()));
}

// Iterates over the elements of one service in a map by ListenerSet::Key.
template <typename Map, typename Visit>
void ForEachOf(const std::string& service, Map& map, Visit visit) {
  for (auto it = map.lower_bound({service, ""}); it != map.end() && it->first.service == service;
       ++it) {
    visit(it->first, it->second);
  }
}

}  // namespace

ListenerSet::ListenerSet(const Options& options, Workers& workers, ListeningSockets&& inherited)
    : options_(options), workers_(workers) {
  for (auto& [text, sockets] : inherited) {
    const size_t space = text.rfind(' ');
    if (space == text.npos || sockets.empty()) continue;
    const Key key{text.substr(0, space), text.substr(space + 1)};
    const absl::StatusOr<Address> wanted = ParseAddress(key.address);
    if (!wanted.ok()) continue;
    const Address bound = BoundAddress(*wanted, sockets);
    open_[key] = {.wanted = *wanted, .bound = bound, .sockets = std::move(sockets)};
  }
}

void ListenerSet::Want(const Addresses& wanted) {
  wanted_.clear();
  for (const auto& [service, addresses] : wanted) {
    for (const Address& address : addresses) wanted_[{service, address.ToString()}] = address;
  }
}

void ListenerSet::Match() {
  Listeners before = std::exchange(open_, {});
  Keep(before);
  Pass(before);
  Errors errors = OpenOthers(before);
  for (const auto& [key, open] : open_) {
    if (!open.served) {
      errors[key] = absl::StrCat("cannot accept clients on ", key.address, ": ", open.why_unserved);
    }
  }
  KeepFormer(errors, before);
  for (const auto& [key, open] : before) {
    workers_.StopListening(key.service, key.address);
    LogInfo("service {} no longer listens on {}", key.service, open.bound.ToString());
  }
  Report(errors);
}

void ListenerSet::Keep(Listeners& before) {
  for (const auto& [key, address] : wanted_) {
    const auto found = before.find(key);
    if (found == before.end()) continue;
    Hold(key, std::move(found->second));
    before.erase(found);
  }
}

// A service that takes over an address, for example after a rename, gets the sockets with the
// clients that wait in their accept queues.
void ListenerSet::Pass(Listeners& before) {
  for (const auto& [key, address] : wanted_) {
    if (address.port == 0 || open_.contains(key)) continue;
    const auto found = std::find_if(
        before.begin(), before.end(),
        [&wanted = address](const auto& entry) { return entry.second.bound == wanted; });
    if (found == before.end()) continue;
    workers_.StopListening(found->first.service, found->first.address);
    Open open = std::move(found->second);
    before.erase(found);
    open.wanted = address;
    open.served = false;
    Hold(key, std::move(open));
  }
}

// Opens what is neither kept nor passed on. `before` has the sockets that may be closed later.
ListenerSet::Errors ListenerSet::OpenOthers(const Listeners& before) {
  Errors errors;
  if (open_.size() == wanted_.size()) return errors;
  std::vector<ListenPlace> leaving;
  for (const auto& [key, open] : before) leaving.emplace_back(open.bound);
  std::vector<std::pair<ListenPlace, std::string>> held;  // with the service
  for (const auto& [key, open] : open_) held.emplace_back(open.bound, key.service);
  for (const auto& [key, address] : wanted_) {
    if (open_.contains(key)) continue;
    const ListenPlace place(address);
    const auto other = std::find_if(held.begin(), held.end(),
                                    [&](const auto& own) { return own.first.Overlaps(place); });
    if (other != held.end()) {
      errors[key] = absl::StrCat("cannot listen on ", key.address, ": service ", other->second,
                                 " of this proxy listens there; choose another port");
      continue;
    }
    // The plain bind detects other programs, but our own socket would make it fail as well.
    const bool collides = std::any_of(leaving.begin(), leaving.end(), [&](const ListenPlace& own) {
      return MayCollide(own, place);
    });
    auto sockets = collides ? ListenBesideOwn(address, options_.workers, ListenFamilies::kOwn)
                            : ListenOnShared(address, options_.workers, ListenFamilies::kOwn);
    if (!sockets.ok()) {
      errors[key] = std::string(sockets.status().message());
      continue;
    }
    const Address bound = BoundAddress(address, *sockets);
    held.emplace_back(bound, key.service);
    Hold(key, {.wanted = address, .bound = bound, .sockets = *std::move(sockets)});
  }
  return errors;
}

void ListenerSet::KeepFormer(const Errors& errors, Listeners& before) {
  for (auto it = before.begin(); it != before.end();) {
    const auto error = errors.lower_bound({it->first.service, ""});
    const auto former = it++;
    if (error == errors.end() || error->first.service != former->first.service) continue;
    Hold(former->first, std::move(former->second));
    before.erase(former);
  }
}

void ListenerSet::Report(const Errors& errors) {
  std::map<Key, std::string> missing;
  for (const auto& [key, error] : errors) {
    missing[key] = WhyMissing(key, error);
    if (!missing_.contains(key)) LogWarn("{}; trying again every second", missing[key]);
  }
  for (const auto& [key, why] : missing_) {
    if (wanted_.contains(key) && !missing.contains(key)) {
      LogInfo("service {} listens on {} again", key.service, key.address);
    }
  }
  missing_ = std::move(missing);
}

std::string ListenerSet::WhyMissing(const Key& key, const std::string& error) const {
  size_t wanted = 0;
  ForEachOf(key.service, wanted_, [&](const Key&, const Address&) { ++wanted; });
  size_t open = 0;
  std::vector<std::string> former;
  ForEachOf(key.service, open_, [&](const Key& own, const Open& listener) {
    if (wanted_.contains(own)) {
      if (listener.served) ++open;
    } else {
      former.push_back(listener.bound.ToString());
    }
  });
  std::string text = absl::StrCat("service ", key.service);
  if (open > 0) {
    absl::StrAppend(&text, " listens on ", open, " of its ", wanted, " addresses");
  }
  if (!former.empty()) {
    absl::StrAppend(&text, open > 0 ? " and" : "", " still ", open > 0 ? "on " : "listens on ",
                    absl::StrJoin(former, ", "));
  } else if (open == 0) {
    absl::StrAppend(&text, " has no listener");
  }
  return absl::StrCat(text, ": ", error);
}

void ListenerSet::Hold(const Key& key, Open open) {
  if (!open.served) Serve(key, open);
  open_[key] = std::move(open);
}

void ListenerSet::Serve(const Key& key, Open& open) {
  absl::StatusOr<std::vector<UniqueFd>> copies = CopiesOf(open.sockets);
  if (!copies.ok()) {
    open.why_unserved = std::string(copies.status().message());
    return;
  }
  LogInfo("service {} on {}", key.service, open.bound.ToString());
  for (const UniqueFd& socket : open.sockets) SetKeepalive(socket.get(), options_.keepalive);
  workers_.Listen(key.service, key.address, *std::move(copies));
  open.served = true;
}

void ListenerSet::StopAccepting() {
  for (auto& [key, open] : open_) {
    workers_.StopListening(key.service, key.address);
    open.served = false;
  }
}

absl::StatusOr<ListeningSockets> ListenerSet::Copies() const {
  ListeningSockets result;
  for (const auto& [key, open] : open_) {
    absl::StatusOr<std::vector<UniqueFd>> copies = CopiesOf(open.sockets);
    if (!copies.ok()) return copies.status();
    result[absl::StrCat(key.service, " ", key.address)] = *std::move(copies);
  }
  return result;
}

bool ListenerSet::UsesSockets() const {
  if (open_.empty()) return true;
  std::vector<ListenPlace> places;
  for (const auto& [key, open] : open_) places.emplace_back(open.bound);
  for (const auto& [key, address] : wanted_) {
    if (open_.contains(key)) return true;
    const ListenPlace wanted(address);
    for (const ListenPlace& place : places) {
      if (place.Overlaps(wanted)) return true;
    }
  }
  // A service whose new address is in use keeps its sockets.
  for (const auto& [key, address] : wanted_) {
    bool has_sockets = false;
    ForEachOf(key.service, open_, [&](const Key&, const Open&) { has_sockets = true; });
    if (has_sockets && !ListenOnShared(address, 1, ListenFamilies::kOwn).ok()) return true;
  }
  return false;
}

std::string ListenerSet::Missing() const {
  return absl::StrJoin(missing_, "; ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.second);
  });
}

std::map<std::string, std::vector<std::string>> ListenerSet::Bound() const {
  std::map<std::string, std::vector<std::string>> bound;
  for (const auto& [key, open] : open_) {
    if (open.served) bound[key.service].push_back(open.bound.ToString());
  }
  return bound;
}

void ListenerSet::Collect(MetricsWriter& writer) const {
  for (const auto& [key, address] : wanted_) {
    const auto found = open_.find(key);
    writer.AddGauge("proxy_listener_open",
                    "1 while the proxy accepts clients of the service on the address, else 0",
                    {{"service", key.service}, {"address", key.address}},
                    found != open_.end() && found->second.served ? 1 : 0);
  }
  writer.AddGauge("proxy_listeners_missing",
                  "Addresses of services in the snapshot on which the proxy does not listen, "
                  "because they are in use",
                  {}, static_cast<double>(missing_.size()));
}

}  // namespace trunkline
