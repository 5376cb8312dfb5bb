# What `make install` puts where, and the three Debian packages of it (cpack -G DEB). A component per program:
# stip_install(program component): the program, its man page and completions, example config and service.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON) # cpack packs what was built; tests need not be
find_program(SCDOC scdoc)
if(NOT SCDOC)
  message(STATUS "scdoc is not installed: no man pages are made")
endif()

# Made by running the programs, which sanitizers would make slow; nothing is installed from such builds.
set(run_programs ON)
if(STIP_SANITIZE OR CMAKE_CROSSCOMPILING OR STIP_FUZZ)
  set(run_programs OFF)
endif()

function(stip_generated program)
  set(made "")
  set(dir ${CMAKE_BINARY_DIR}/completions)
  file(MAKE_DIRECTORY ${dir} ${CMAKE_BINARY_DIR}/man)
  add_custom_command(OUTPUT ${dir}/${program} ${dir}/_${program} DEPENDS ${program} VERBATIM
    COMMAND ${program} completion bash > ${dir}/${program}
    COMMAND ${program} completion zsh > ${dir}/_${program})
  list(APPEND made ${dir}/${program} ${dir}/_${program})
  if(SCDOC)
    set(page ${PROJECT_SOURCE_DIR}/docs/man/${program}.1.scd)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/man/${program}.1 DEPENDS ${program} ${page} ${PROJECT_SOURCE_DIR}/scripts/man.sh VERBATIM
      COMMAND ${PROJECT_SOURCE_DIR}/scripts/man.sh $<TARGET_FILE:${program}> ${page} ${CMAKE_BINARY_DIR}/man/${program}.1)
    list(APPEND made ${CMAKE_BINARY_DIR}/man/${program}.1)
  endif()
  add_custom_target(${program}-texts ALL DEPENDS ${made})
endfunction()

function(stip_install program component)
  install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
  if(NOT run_programs)
    return()
  endif()
  stip_generated(${program})
  set(dir ${CMAKE_BINARY_DIR}/completions)
  install(FILES ${dir}/${program} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT ${component})
  install(FILES ${dir}/_${program} DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT ${component})
  if(SCDOC)
    install(FILES ${CMAKE_BINARY_DIR}/man/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT ${component})
  endif()
endfunction()

stip_install(stip-model-dev model-dev)
stip_install(stip-server server)
stip_install(stip-user user)
stip_install(stip-bench bench)

foreach(role model-dev server user)
  string(REPLACE "-" "_" config ${role})
  install(FILES configs/${config}.json DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/stip-${role} COMPONENT ${role})
endforeach()
install(FILES packaging/systemd/stip-model-dev.service DESTINATION lib/systemd/system COMPONENT model-dev)
install(FILES packaging/systemd/stip-server.service DESTINATION lib/systemd/system COMPONENT server)
install(FILES packaging/systemd/stip-user.service DESTINATION lib/systemd/user COMPONENT user)

# Only the examples: identities and packages may have been made beside them.
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/configs COMPONENT doc
  FILES_MATCHING PATTERN "server.json" PATTERN "model_dev.json" PATTERN "user.json"
  PATTERN "*.id" EXCLUDE PATTERN "protected" EXCLUDE PATTERN "grant*" EXCLUDE PATTERN "*package*" EXCLUDE)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT doc)

# ---------------------------------------------------------------- Debian packages
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME stip)
set(CPACK_PACKAGE_CONTACT "The stip project <stip@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Three-party private transformer inference")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/deb)
set(CPACK_COMPONENTS_ALL model-dev server user)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_MODEL-DEV_DESCRIPTION "private inference: the model developer's program
 Permutes a checkpoint with secret orders, pushes it to servers, gives grants to users.")
set(CPACK_DEBIAN_SERVER_DESCRIPTION "private inference: the server
 Computes transformers on permuted weights and permuted rows; holds no key.")
set(CPACK_DEBIAN_USER_DESCRIPTION "private inference: the user's program
 Private prompts, a chat, and an OpenAI API on this machine.")
foreach(role model-dev server user)
  string(TOUPPER ${role} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME stip-${role})
endforeach()
foreach(role model-dev server)
  string(TOUPPER ${role} upper)
  set(PACKAGE stip-${role})
  set(scripts "")
  foreach(script postinst prerm postrm)
    configure_file(packaging/debian/${script}.in ${CMAKE_BINARY_DIR}/debian/${role}/${script} @ONLY
      FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
    list(APPEND scripts ${CMAKE_BINARY_DIR}/debian/${role}/${script})
  endforeach()
  set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "${scripts}")
  set(CPACK_DEBIAN_${upper}_PACKAGE_DEPENDS adduser)
endforeach()
include(CPack)
