// A pipe without room for another byte, whose reader has stopped. Only Drain makes room.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "common/base/unique_fd.h"

namespace trunkline::test {

class FullPipe {
 public:
  FullPipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) abort();
    read_end_.Reset(ends[0]);
    write_end_.Reset(ends[1]);
    for (const size_t size : {4096, 1}) {
      const std::string filling(size, '.');
      while (write(ends[1], filling.data(), size) > 0) {
      }
    }
    if (fcntl(ends[0], F_SETFL, 0) != 0 || fcntl(ends[1], F_SETFL, 0) != 0) abort();
  }

  int write_end() const { return write_end_.get(); }

  // Reads on until `text` was read, and returns everything after the filling.
  std::string DrainUntil(std::string_view text) {
    std::string read_bytes;
    char piece[4096];
    while (read_bytes.find(text) == std::string::npos) {
      const ssize_t n = read(read_end_.get(), piece, sizeof(piece));
      if (n <= 0) abort();
      read_bytes.append(piece, static_cast<size_t>(n));
    }
    return read_bytes.substr(read_bytes.find_first_not_of('.'));
  }

  // Ends the reader, so that writes fail.
  void CloseReader() { read_end_.Reset(); }

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
};

}  // namespace trunkline::test
