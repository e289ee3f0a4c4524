// What every file of the shim needs.
//
// Every exported function takes pointers to at::Tensor as tch holds them, returns null or an error text for
// distilsweep_free, and lets no exception out. A tensor that a function returns belongs to the caller.

#pragma once

#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

template <typename F> char *guarded(F &&body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &error) {
    // what() would add a trace of addresses, which says nothing to whoever reads the message.
    return strdup(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}
