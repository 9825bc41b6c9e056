"""Operations that export lists as files."""
